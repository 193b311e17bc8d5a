import itertools
import math
import os
from pathlib import Path

import pytest

from losa.cache_format.common import cores
from losa.cache_format.common.cores import idle_cores, usable_cores

VERSION_1 = {"proc/self/cgroup": "3:cpu,cpuacct:/job\n"}
VERSION_2 = {"proc/self/cgroup": "0::/job\n"}
GROUP_1, GROUP_2 = "sys/fs/cgroup/cpu", "sys/fs/cgroup"


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param({}, 64, id="no control groups"),
        pytest.param(VERSION_2 | {f"{GROUP_2}/job/cpu.max": "max 100000\n"}, 64, id="no quota"),
        pytest.param(VERSION_2 | {f"{GROUP_2}/job/cpu.max": "150000 100000\n"}, 2, id="a container"),
        pytest.param(VERSION_2 | {f"{GROUP_2}/cpu.max": "400000 100000\n"}, 4, id="a parent"),
        pytest.param(VERSION_2 | {f"{GROUP_2}/job/cpu.max": "20000 100000\n"}, 1, id="less than a core"),
        pytest.param(
            VERSION_1
            | {f"{GROUP_1}/job/cpu.cfs_quota_us": "150000\n", f"{GROUP_1}/job/cpu.cfs_period_us": "50000\n"},
            3,
            id="version 1",
        ),
        pytest.param(
            VERSION_1 | {f"{GROUP_1}/cpu.cfs_quota_us": "-1\n", f"{GROUP_1}/cpu.cfs_period_us": "100000\n"},
            64,
            id="version 1, no quota",
        ),
    ],
)
def test_a_quota_is_respected(
    files: dict[str, str], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)))
    write(tmp_path, files)
    assert usable_cores(tmp_path) == expected


def test_a_process_bound_to_some_cores_uses_those(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5})
    assert usable_cores(tmp_path) == 2


@pytest.mark.parametrize(
    ("load", "idle_now", "expected"),
    [
        pytest.param(3.0, 1.0, 1.0, id="busy all the time"),
        pytest.param(0.5, 1.0, 3.5, id="a burst"),
        pytest.param(3.0, 4.0, 4.0, id="work that has just ended"),
        pytest.param(9.0, 0.0, 0.0, id="overloaded"),
    ],
)
def test_only_work_that_lasts_leaves_fewer_cores_idle(
    load: float, idle_now: float, expected: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = os.sysconf("SC_CLK_TCK")

    def passes(seconds: float) -> None:
        write(tmp_path, {"proc/stat": f"cpu 7 0 7 {int(100 * ticks + idle_now * ticks)} 0 0\ncpu0 1 2\n"})

    write(
        tmp_path, {"proc/loadavg": f"{load} 1.0 1.0 2/99 7\n", "proc/stat": f"cpu 7 0 7 {100 * ticks} 0 0\n"}
    )
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(cores.time, "sleep", passes)
    monkeypatch.setattr(cores.time, "monotonic", itertools.count().__next__)
    assert idle_cores(tmp_path) == expected


def test_a_kernel_that_does_not_tell_counts_as_idle(tmp_path: Path) -> None:
    assert idle_cores(tmp_path) == math.inf
