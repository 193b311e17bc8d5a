"""The memory of this process, as the system counts it."""

from pathlib import Path


def resident_bytes() -> int | None:
    """Bytes in memory now; None if the system does not report them."""
    return _status("VmRSS")


def peak_resident_bytes() -> int | None:
    """The most bytes in memory since the start of the program, or since `reset_peak`; None likewise."""
    return _status("VmHWM")


def reset_peak() -> bool:
    """Let the peak start anew at the present bytes. Returns whether the system can."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _status(field: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, value = line.partition(":")
        if name == field:
            return int(value.removesuffix("kB")) * 1024
    return None
