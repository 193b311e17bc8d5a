"""Finished trainings are found by what determines them."""

import pytest

from losa.cache_format import LosaError
from losa.pipelines.bench.live.records import TrainingRecords


def test_a_record_is_found_again(tmp_path):
    records = TrainingRecords(tmp_path / "new" / "out")
    assert records.find("lora", {"lr": 1e-3}) is None
    records.keep("lora", {"lr": 1e-3, "sizes": (1, 2)}, {"accuracy": 0.5})
    assert records.find("lora", {"sizes": [1, 2], "lr": 1e-3}) == {"accuracy": 0.5}
    assert records.find("lora", {"lr": 2e-3, "sizes": (1, 2)}) is None
    (file,) = (tmp_path / "new" / "out").iterdir()
    assert file.name.startswith("lora-")


def test_a_damaged_record_is_told(tmp_path):
    records = TrainingRecords(tmp_path)
    records.keep("lora", {}, {"accuracy": 0.5})
    (file,) = tmp_path.iterdir()
    file.write_text(file.read_text().replace("0.5", "0.6"))
    with pytest.raises(LosaError, match=r"damaged or edited by hand.* Remove the file"):
        records.find("lora", {})
