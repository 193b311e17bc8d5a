# The verbs of this project. Each one sets up what it needs; CI calls only these.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: setup demo test test-all lint types bench build clean

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "losa needs Python 3.11 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	touch $@

demo: setup
	$(BIN)/losa-demo

test: setup
	$(BIN)/python -m pytest -q -m 'not slow'

test-all: setup
	$(BIN)/python -m pytest -q

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

bench: setup
	$(BIN)/losa-bench reads --gigabytes 0.25 --rounds 3
	$(BIN)/losa-bench fused --members 4 --batch 8 --width 192
	$(BIN)/python -m pytest -q -o addopts=--import-mode=importlib tests/benchmarks --benchmark-columns=min,median,max,rounds

build: setup
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean:
	rm -rf $(VENV) dist
