from pathlib import Path

import pytest

from losa.cache_format import LosaError
from losa.pipelines.bench.live.records import TrainingRecords
from losa.pipelines.report.inputs.live import read_live

TRAINING = {"method": "lora", "rank": 4, "lr": 1e-3, "seed": 1}


def kept(folder: Path, accuracy: float | None, name: str = "my-pets-lora-x") -> None:
    result = {"parameters": 100, "device": "cpu", "accuracy": accuracy, "seconds": 2.5}
    TrainingRecords(folder).keep(f"{name}-lora-lr0.001-seed1-test", TRAINING, result)


def test_a_training_has_the_data_set_and_the_split_of_its_label(tmp_path: Path) -> None:
    kept(tmp_path, 0.5)
    (member,) = read_live(tmp_path) or []
    assert (member.task, member.kind, member.accuracy) == ("my-pets-lora-x", "lora (live)", {"test": 0.5})
    assert (member.options, member.seeds, member.rank) == ({"rank": "4", "lr": "0.001"}, ("1",), 4)
    assert (member.parameters, member.seconds) == (100, 2.5)


def test_a_training_that_diverged(tmp_path: Path) -> None:
    kept(tmp_path, None)
    (member,) = read_live(tmp_path) or []
    assert (member.status, member.reason, member.accuracy) == (
        "failed",
        "the loss became NaN or infinite",
        {},
    )


def test_damaged_records_are_refused(tmp_path: Path) -> None:
    kept(tmp_path, 0.5)
    (path,) = tmp_path.glob("*.json")
    path.write_bytes(path.read_bytes().replace(b"100", b"101"))
    with pytest.raises(LosaError, match=path.name):
        read_live(tmp_path)


def test_other_folders_have_no_records(tmp_path: Path) -> None:
    assert read_live(tmp_path) is None
