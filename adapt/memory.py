"""How many bytes are free: in this machine's memory, under the limits it sets, and on a GPU."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch


class _Names(NamedTuple):
    """Files of a control group, and the lines of ``memory.stat`` that count file cache."""

    limit: str
    usage: str
    cache: tuple[str, str]


_VERSION_1 = _Names(
    "memory.limit_in_bytes", "memory.usage_in_bytes", ("total_active_file", "total_inactive_file")
)
_VERSION_2 = _Names("memory.max", "memory.current", ("active_file", "inactive_file"))


def free_in_ram(root: Path = Path("/")) -> int:
    """Bytes that can be taken without swapping, containers and batch systems considered.

    Args:
        root: below which ``proc`` and ``sys`` are looked for.
    """
    lines = (root / "proc/meminfo").read_text().splitlines()
    (available,) = (int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    return max(0, min([available * 1024, *_free_in_groups(root)]))


def is_cuda(device: str) -> bool:
    """Whether a device has memory of its own."""
    return torch.device(device).type == "cuda"


def free_on_gpu(device: str) -> int:
    """Bytes that torch can still allocate on a CUDA device."""
    index = torch.device(device).index
    index = torch.cuda.current_device() if index is None else index
    free, _ = torch.cuda.mem_get_info(index)
    # What tensors gave back stays with torch: an earlier training in this process leaves it full of that.
    return int(free + torch.cuda.memory_reserved(index) - torch.cuda.memory_allocated(index))


def _free_in_groups(root: Path) -> Iterator[int]:
    """For each control group with a limit that this process is in, what the limit leaves."""
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
    except FileNotFoundError:
        return
    for group in groups:
        _, controllers, name = group.split(":", 2)
        if not controllers:
            mount, names = root / "sys/fs/cgroup", _VERSION_2
        elif "memory" in controllers.split(","):
            mount, names = root / "sys/fs/cgroup/memory", _VERSION_1
        else:
            continue
        # Limits of parents count too. In a container the name may be the outer one: only the mount exists.
        own = mount / name.lstrip("/")
        for folder in (own, *(parent for parent in own.parents if parent.is_relative_to(mount))):
            try:
                limit = (folder / names.limit).read_text().strip()
                if limit == "max":
                    continue
                usage = int((folder / names.usage).read_text())
                statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            except FileNotFoundError:
                continue
            yield int(limit) - usage + sum(int(statistics[line]) for line in names.cache)
