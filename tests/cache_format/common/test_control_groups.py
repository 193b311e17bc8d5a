from pathlib import Path

import pytest

from losa.cache_format.common.control_groups import control_groups


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (None, []),
        ("0::/a/b\n", [(2, "a/b"), (2, "a"), (2, "")]),
        ("3:cpu,cpuacct:/x\n2:memory:/y\n", [(1, "cpu/x"), (1, "cpu")]),
        ("2:cpuset:/x\n0::/\n", [(2, "")]),
    ],
)
def test_a_group_comes_before_its_parents(
    lines: str | None, expected: list[tuple[int, str]], tmp_path: Path
) -> None:
    if lines is not None:
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/self/cgroup").write_text(lines)
    mount = tmp_path / "sys/fs/cgroup"
    assert list(control_groups("cpu", tmp_path)) == [(version, mount / name) for version, name in expected]
