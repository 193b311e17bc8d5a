"""Description of the machine on which a figure was measured."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from losa.cache_format.shards.read_threads import default_threads

PACKAGES = ("numpy", "crc32c", "torch", "timm", "peft", "zarr", "h5py", "tensorstore")


def describe_machine(device: str = "cpu") -> dict[str, Any]:
    """Processor, cores that this process may use, memory, load average, and versions of packages.

    Args:
        device: the compute device; of a GPU, its name and memory are told, too.
    """
    return _describe_gpu(device) | {
        "processor": _field("/proc/cpuinfo", "model name") or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "read_threads": default_threads(),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "load_average": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := _version(name)) is not None},
    }


def _describe_gpu(device: str) -> dict[str, Any]:
    if not device.startswith("cuda"):
        return {}
    import torch

    found = torch.cuda.get_device_properties(device)
    return {"gpu": found.name, "gpu_memory_bytes": found.total_memory}


def available_memory() -> int | None:
    """Bytes that can be allocated without swapping, page cache included; None if the system does not say."""
    found = _field("/proc/meminfo", "MemAvailable")
    return None if found is None else int(found.removesuffix(" kB")) * 1024


def peak_memory() -> int | None:
    """The most bytes of memory that this process has had so far; None if the system does not say."""
    found = _field("/proc/self/status", "VmHWM")
    return None if found is None else int(found.removesuffix(" kB")) * 1024


def _field(path: str, name: str) -> str | None:
    file = Path(path)
    if not file.exists():
        return None
    for line in file.read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
