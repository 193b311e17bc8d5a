import errno
import shutil
import stat
import tempfile
from pathlib import Path

import pytest

from losa.adapt.kernels import compiling
from losa.adapt.kernels.compiling import (
    LEVELS,
    CompilerError,
    architecture,
    compile_kernels,
    compiled_libraries,
    library_path,
)


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
    compile_kernels()
    levels = LEVELS[architecture()]
    assert compiled_libraries() == [library_path(level) for level in levels]
    assert all(path.read_text() == "made\n" for path in compiled_libraries())
    assert len((folder / "calls").read_text()) == len(levels)


def test_nothing_is_made_twice_and_nothing_old_is_left(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler(folder, monkeypatch, COUNTING)
    compile_kernels()
    before = compiled_libraries()
    compile_kernels()
    assert len((folder / "calls").read_text()) == len(before)
    (folder / "one.cpp").write_text('extern "C" int other() { return LANES; }\n')
    assert compiled_libraries() == []
    compile_kernels()
    assert set(folder.glob("*.so")) == set(compiled_libraries())
    assert not set(before) & set(compiled_libraries())


def test_a_failing_compiler_is_quoted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler(folder, monkeypatch, "echo what a source >&2; exit 3")
    with pytest.raises(CompilerError, match="ended with exit code 3: what a source"):
        compile_kernels()
    assert {path.name for path in folder.iterdir()} == {"one.cpp", "compiler"}


def test_one_instruction_set_does_not_need_the_other(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, *others = LEVELS[architecture()]
    refusing = f'case "$*" in *={first}*) echo bad value >&2; exit 1;; esac; {COUNTING}'
    compiler(folder, monkeypatch, refusing)
    with pytest.raises(CompilerError, match="bad value"):
        compile_kernels()
    assert compiled_libraries() == [library_path(level) for level in others]


def test_a_compiler_may_have_options(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler(folder, monkeypatch, f'echo "$1" > "$(dirname "$0")/option"; {COUNTING}')
    monkeypatch.setenv("CXX", f"{folder / 'compiler'} -m64")
    compile_kernels()
    assert (folder / "option").read_text() == "-m64\n"


def test_sources_that_cannot_be_written_to_are_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**options: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(folder))

    compiler(folder, monkeypatch, COUNTING)
    monkeypatch.setattr(tempfile, "TemporaryDirectory", refuse)
    with pytest.raises(CompilerError, match=f"Permission denied: {folder}"):
        compile_kernels()


def test_a_missing_compiler_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(CompilerError, match="expected no-such-compiler on the PATH"):
        compile_kernels()


def test_other_architectures_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "architecture", lambda: "riscv64")
    compile_kernels()
    assert compiled_libraries() == []


@pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")
def test_a_real_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "")  # as if it were not set
    compile_kernels()
    assert all(path.stat().st_size > 1000 for path in compiled_libraries())
    assert compiled_libraries()
