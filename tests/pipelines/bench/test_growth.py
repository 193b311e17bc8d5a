"""losa-bench growth on a cache of a few shards: its answers, not its speed."""

import pytest

from losa.cache_format import Cache, CorruptCache
from losa.pipelines.bench.growth import QUESTIONS, GrowthBenchmark, growth_table
from losa.pipelines.bench.reading.noise_cache import NoiseCache, Shape

FEW = GrowthBenchmark(images=150, sites=2)


@pytest.fixture
def noise(tmp_path):
    noise = NoiseCache(tmp_path / "growth-150x2", "int8", "zarr", 150, Shape(sites=2, grid=(1, 1), width=8))
    noise.write()
    return noise


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_question_is_answered_and_leaves_the_cache_as_it_was(noise, tmp_path, question):
    def files():
        return {path: path.read_bytes() for path in noise.path.rglob("*") if path.is_file()}

    before = files()
    row = FEW.answer(tmp_path, question)
    assert list(row) == ["question", "seconds", "cpu_seconds", "peak_bytes_before", "peak_bytes"]
    assert row["question"] == question
    assert row["seconds"] > 0 < row["peak_bytes_before"] <= row["peak_bytes"]
    assert files() == before


@pytest.mark.parametrize("question", ["open for training", "losa-cache info", "plan"])
def test_the_records_are_read_for_an_answer(noise, tmp_path, question, caplog):
    record = next(noise.path.rglob("commit.1.json"))
    record.write_bytes(record.read_bytes().replace(b'"rows": 64', b'"rows": 63'))
    if question == "plan":
        FEW.answer(tmp_path, question)
        assert "This shard is made again" in caplog.text
    else:
        with pytest.raises(CorruptCache, match="damaged or edited by hand"):
            FEW.answer(tmp_path, question)


def test_each_question_is_asked_of_a_process_of_its_own(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        GrowthBenchmark, "_ask", lambda self, folder, question: asked.append((folder, question))
    )
    FEW.run(tmp_path)
    assert asked == [(tmp_path, question) for question in QUESTIONS]
    assert len(Cache(tmp_path / "growth-150x2").split("train")) == 150


def test_the_table_holds_the_numbers():
    from rich.console import Console

    row = {"question": "plan", "seconds": 4.25, "cpu_seconds": 3.5}
    rows = [row | {"peak_bytes": 910_000_000, "peak_bytes_before": None}]
    console = Console(width=100, record=True)
    console.print(growth_table(rows, FEW))
    text = console.export_text()
    for words in ("150 images, 2 sites", "plan", "4.25", "3.50", "910"):
        assert words in text
