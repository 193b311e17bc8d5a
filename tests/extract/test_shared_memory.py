import os
from types import SimpleNamespace

import pytest

from losa.extract.shared_memory import fit_processes

BATCH = 19_267_584  # 32 images of 224 x 224 pixels


@pytest.mark.parametrize(
    ("free", "wanted", "expected"),
    [
        (8e9, 8, (8, 2)),
        (20 * BATCH, 8, (8, 2)),
        (18 * BATCH - 1, 8, (8, 1)),
        (10 * BATCH, 8, (8, 1)),
        (5 * BATCH, 8, (3, 1)),
        (64e6, 8, (1, 1)),  # what a container gets by default
        (64e6, 1, (1, 1)),
        (2 * BATCH, 8, (0, 1)),
        (0, 4, (0, 1)),
        (0, 0, (0, 2)),
    ],
)
def test_as_many_processes_as_there_is_room_for(tmp_path, monkeypatch, caplog, free, wanted, expected):
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=int(free), f_frsize=1))
    assert fit_processes(wanted, BATCH, tmp_path) == expected
    told = [record.message for record in caplog.records]
    assert len(told) == (expected[0] < wanted)
    if told:
        count = f"{expected[0]} processes" if expected[0] else "no processes of their own"
        assert f"19.3 MB there: {count} decode instead of {wanted}" in told[0]
        assert "--shm-size" in told[0]


def test_a_system_without_that_folder_has_no_such_limit(tmp_path):
    assert fit_processes(8, BATCH, tmp_path / "none") == (8, 2)
