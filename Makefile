# The verbs of this project. Each one installs what it needs; CI calls only these.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# pip would compile every module of torch and its libraries, of which a tenth is imported. Python compiles those
# when it first imports them, unless an environment variable forbids it.
export PYTHONDONTWRITEBYTECODE :=
# Installations compile them.
KERNELS := $(wildcard adapt/kernels/*.cpp) adapt/kernels/compiling.py
INSTALL := $(BIN)/python -m pip install --quiet --no-compile

.PHONY: setup demo docs tutorial test test-all lint types bench build clean

setup: $(VENV)/.dev

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "losa needs Python 3.11 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --upgrade pip

# What a user needs.
$(VENV)/.demo: pyproject.toml $(KERNELS) | $(BIN)/python
	$(INSTALL) -e '.[demo]'
	touch $@

# What builds the site.
$(VENV)/.docs: pyproject.toml $(KERNELS) | $(BIN)/python
	$(INSTALL) -e '.[docs]'
	touch $@

# What runs the tutorial.
$(VENV)/.tutorial: pyproject.toml $(KERNELS) | $(BIN)/python
	$(INSTALL) -e '.[tutorial]'
	touch $@

# The same, and what developers need.
$(VENV)/.dev: pyproject.toml $(KERNELS) | $(BIN)/python
	$(INSTALL) -e '.[dev]'
	touch $@ $(VENV)/.demo $(VENV)/.docs

demo: $(VENV)/.demo
	$(BIN)/losa-demo

# Pages in site/, which need no server and load nothing from the network; a broken link is an error. Material for
# MkDocs says at each start that it is maintained until May 2027; its successor Zensical reads the same .mkdocs.yml.
docs: export NO_MKDOCS_2_WARNING := 1
docs: $(VENV)/.docs
	$(BIN)/mkdocs build --quiet -f .mkdocs.yml

# docs/tutorial.ipynb anew, with what it shows, in about two minutes. Its commands are those of this folder.
tutorial: export PATH := $(abspath $(BIN)):$(PATH)
tutorial: $(VENV)/.tutorial
	$(BIN)/python docs/run_tutorial.py

# One worker for each core, at most eight; tests/conftest.py gives each of them one thread.
test: $(VENV)/.dev
	sh tests/in_memory.sh $(BIN)/python -m pytest -q -m 'not slow' -n logical --maxprocesses 8 --dist worksteal

test-all: $(VENV)/.dev
	$(BIN)/python -m pytest -q

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

bench: $(VENV)/.dev
	$(BIN)/losa-bench extract --images 64 --rounds 3
	$(BIN)/losa-bench reads --gigabytes 0.25 --rounds 3
	$(BIN)/losa-bench fused --members 4 --batch 8 --width 192
	$(BIN)/python -m pytest -q -o addopts=--import-mode=importlib tests/benchmarks --benchmark-columns=min,median,max,rounds

# The distributions, and whether they hold what they should and run outside of this folder.
build: $(VENV)/.dev
	rm -rf dist
	$(BIN)/python -m hatchling build -d dist
	$(BIN)/python -m pytest -q tests/test_packaging.py

clean:
	rm -rf $(VENV) dist site
