"""Compilation of the kernels, with which wheels are built: it needs nothing but Python and a C++ compiler."""

import os
import platform
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
    """The file of the kernels for an instruction set. Its name tells by a checksum which sources it is of."""
    checksum = 0
    for source in SOURCES:
        checksum = zlib.crc32(source.read_bytes(), checksum)
    return FOLDER / f"kernels.{level}.{checksum:08x}.so"


def compile_kernels() -> list[Path]:
    """Compile what is missing, and remove what earlier sources left.

    Returns:
        The libraries of this architecture; none if there are no kernels for it.

    Raises:
        CompilerError: no compiler was found, or it failed.
    """
    levels = LEVELS.get(architecture(), {})
    paths = {library_path(level): flags for level, flags in levels.items()}
    for path, flags in paths.items():
        if not path.exists():
            _compile(path, flags)
    for path in FOLDER.glob("*.so"):
        if path not in paths:
            path.unlink()
    return list(paths)


def _compile(path: Path, flags: tuple[str, ...]) -> None:
    named = os.environ.get("CXX", "c++")
    compiler = shutil.which(named)
    if compiler is None:
        raise CompilerError(f"no C++ compiler: expected {named} on the PATH, or CXX to name one")
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / path.name
        command = [compiler, *FLAGS, *flags, *map(str, SOURCES), "-o", str(made)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise CompilerError(f"{compiler} ended with exit code {done.returncode}: {done.stderr.strip()}")
        made.replace(path)
