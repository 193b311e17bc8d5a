"""Commands as a user types them, and a small cache made by one."""

import contextlib
import io
import logging
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Finished:
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


Command = Callable[..., Finished]


@contextlib.contextmanager
def _at_the_prompt(folder: Path, arguments: list[str]) -> Iterator[tuple[io.StringIO, io.StringIO]]:
    argv, handlers, before = sys.argv, logging.getLogger().handlers[:], Path.cwd()
    sys.argv = arguments
    os.chdir(folder)
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()) as out,
            contextlib.redirect_stderr(io.StringIO()) as error,
        ):
            yield out, error
    finally:
        sys.argv = argv
        os.chdir(before)
        logging.getLogger().handlers[:] = handlers


@pytest.fixture(scope="session")
def command() -> Command:
    """``command(folder, name, *arguments)``: run a command in a folder, within this process."""

    def run(folder: Path, name: str, *arguments: str) -> Finished:
        (entry,) = entry_points(group="console_scripts", name=name)
        main = entry.load()
        with _at_the_prompt(folder, [name, *arguments]) as (out, error):
            code: object = 0
            try:
                main()
            except SystemExit as stop:
                code = stop.code
            if isinstance(code, str):  # as the interpreter does at its end
                print(code, file=error)
                code = 1
        return Finished(int(str(code or 0)), out.getvalue(), error.getvalue())

    return run


@pytest.fixture(scope="session")
def extracted(command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``cache``: forty digits of each split through an untrained toy transformer."""
    folder = tmp_path_factory.mktemp("extracted")
    options = "backbone.name=test_vit backbone.pretrained=false sites=2 limit=40 workers=0 cache=cache"
    finished = command(folder, "losa-extract", *options.split())
    assert finished.returncode == 0, finished.stderr
    return folder
