"""Linux control groups, by which containers and batch systems limit what a process may use."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class ControlGroup(NamedTuple):
    """A control group that this process belongs to."""

    version: int
    """1 or 2, which differ in the names of their files."""
    folder: Path


def control_groups(controller: str, root: Path = Path("/")) -> Iterator[ControlGroup]:
    """The control groups whose limits apply to this process: its own, then their parents.

    A folder need not exist.

    Args:
        controller: what is limited: ``memory`` or ``cpu``.
        root: folder of ``proc`` and ``sys``.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if not controllers:
            version, mount = 2, root / "sys/fs/cgroup"
        elif controller in controllers.split(","):
            version, mount = 1, root / "sys/fs/cgroup" / controller
        else:
            continue
        # A container may show the outer name, of which only the mount exists.
        own = mount / name.lstrip("/")
        for folder in (own, *(parent for parent in own.parents if parent.is_relative_to(mount))):
            yield ControlGroup(version, folder)
