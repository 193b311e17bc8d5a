"""Compilation of the kernels, with which wheels are built: it needs nothing but Python and a C++ compiler."""

import os
import platform
import shlex
import shutil
import subprocess
import tempfile
import zlib
from pathlib import Path

FOLDER = Path(__file__).parent
SOURCES = sorted(FOLDER.glob("*.cpp"))

LEVELS = {
    "x86_64": {
        "x86-64-v4": ("-march=x86-64-v4", "-DLANES=16"),  # AVX-512
        "x86-64-v3": ("-march=x86-64-v3", "-DLANES=8"),  # AVX2
    },
    "aarch64": {"armv8-a": ("-march=armv8-a", "-DLANES=4")},
}
"""For each architecture, instruction sets and the flags that compile for them."""
FLAGS = (
    *("-std=c++17", "-fno-exceptions", "-fno-rtti", "-fPIC", "-shared"),
    *("-O3", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math"),
)


class CompilerError(Exception):
    """There is no compiler, or it did not compile."""


def architecture() -> str:
    """The name of this machine's architecture; macOS and Linux name one of them differently."""
    return platform.machine().replace("arm64", "aarch64").replace("AMD64", "x86_64")


def library_path(level: str) -> Path:
    """The file of the kernels for an instruction set; a checksum says from what it was compiled, and how."""
    checksum = 0
    for source in (*SOURCES, Path(__file__)):
        checksum = zlib.crc32(source.read_bytes(), checksum)
    return FOLDER / f"kernels.{level}.{checksum:08x}.so"


def compiled_libraries() -> list[Path]:
    """The libraries that are there, for this architecture and of these sources."""
    paths = [library_path(level) for level in LEVELS.get(architecture(), {})]
    return [path for path in paths if path.exists()]


def compile_kernels() -> None:
    """Compile what is missing for this architecture, and remove what is of other sources.

    Raises:
        CompilerError: no compiler was found, it failed, or the folder cannot be written. What could be
            compiled is there all the same.
    """
    errors = []
    for level, flags in LEVELS.get(architecture(), {}).items():
        try:
            if not library_path(level).exists():
                _compile(library_path(level), flags)
        except CompilerError as error:
            errors.append(error)
        except OSError as error:
            errors.append(CompilerError(f"{error.strerror}: {error.filename}"))
    if errors:
        raise errors[0]
    for path in set(FOLDER.glob("*.so")) - set(compiled_libraries()):
        path.unlink()


def _compile(path: Path, flags: tuple[str, ...]) -> None:
    named = os.environ.get("CXX", "").strip() or "c++"
    compiler, *options = shlex.split(named)
    found = shutil.which(compiler)
    if found is None:
        raise CompilerError(f"no C++ compiler: expected {compiler} on the PATH, or CXX to name one")
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / path.name
        command = [found, *options, *FLAGS, *flags, *map(str, SOURCES), "-o", str(made)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise CompilerError(f"{named} ended with exit code {done.returncode}: {done.stderr.strip()}")
        made.replace(path)
