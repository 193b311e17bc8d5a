import shutil
import stat
from pathlib import Path

import pytest

from losa.adapt.kernels import compiling
from losa.adapt.kernels.compiling import LEVELS, CompilerError, architecture, compile_kernels, library_path


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one short source."""
    if architecture() not in LEVELS:
        pytest.skip("there are no kernels for this architecture")
    source = tmp_path / "one.cpp"
    source.write_text('extern "C" int lanes() { return LANES; }\n')
    monkeypatch.setattr(compiling, "FOLDER", tmp_path)
    monkeypatch.setattr(compiling, "SOURCES", [source])
    return tmp_path


def compiler(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Let a shell script take the compiler's place."""
    script = folder / "compiler"
    script.write_text(f"#!/bin/sh\n{text}\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("CXX", str(script))


COUNTING = 'echo >> "$(dirname "$0")/calls"; for last; do :; done; echo made > "$last"'


def test_each_instruction_set_has_a_library(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler(folder, monkeypatch, COUNTING)
    levels = LEVELS[architecture()]
    assert compile_kernels() == [library_path(level) for level in levels]
    assert all(library_path(level).read_text() == "made\n" for level in levels)
    assert len((folder / "calls").read_text()) == len(levels)


def test_nothing_is_made_twice_and_nothing_old_is_left(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler(folder, monkeypatch, COUNTING)
    before = compile_kernels()
    assert compile_kernels() == before
    assert len((folder / "calls").read_text()) == len(before)
    (folder / "one.cpp").write_text('extern "C" int other() { return LANES; }\n')
    after = compile_kernels()
    assert set(folder.glob("*.so")) == set(after)
    assert not set(before) & set(after)


def test_a_failing_compiler_is_quoted_and_leaves_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler(folder, monkeypatch, "echo what a source >&2; exit 3")
    with pytest.raises(CompilerError, match="ended with exit code 3: what a source"):
        compile_kernels()
    assert {path.name for path in folder.iterdir()} == {"one.cpp", "compiler"}


def test_a_missing_compiler_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(CompilerError, match="expected no-such-compiler on the PATH"):
        compile_kernels()


def test_other_architectures_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "architecture", lambda: "riscv64")
    assert compile_kernels() == []


@pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")
def test_a_real_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    assert all(path.stat().st_size > 1000 for path in compile_kernels())
