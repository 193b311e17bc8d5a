"""Extraction on an engine: the bytes do not depend on where images are computed, or who is lost."""

import logging

import pytest

from losa.cache_format import Segment, verify
from losa.cache_format.engines import EngineConfig
from losa.cache_format.engines.ray_pool import RayPool
from losa.extract import extract
from losa.extract.encoded_batches import ShardBatch
from losa.extract.extraction import Extractor
from losa.extract.extraction_tasks import EncodingTask
from losa.extract.sources import InvalidImage

pytestmark = pytest.mark.usefixtures("shapes_are_not_checked")


@pytest.fixture
def on_ray(ray_cluster):
    """The option ``engine`` for two workers of one core."""
    return EngineConfig(kind="ray", address=ray_cluster.address)


@pytest.mark.long
@pytest.mark.parametrize("codec", ["int8", pytest.param("float16", marks=pytest.mark.slow)])
def test_two_workers_write_the_bytes_of_one_process(config, on_ray, tmp_path, tree, caplog, capfd, codec):
    caplog.set_level(logging.INFO)
    options = {"codec": codec, "rows_per_shard": 2, "batch_size": 2}
    extract(config(**options, cache=str(tmp_path / "here")))
    capfd.readouterr()
    done = extract(config(**options, cache=str(tmp_path / "ray"), engine=on_ray))
    assert done.images == 10
    assert tree(tmp_path / "ray") == tree(tmp_path / "here")
    assert "engine=ray: 2 workers with 1 CPU each" in caplog.messages
    assert "extracting: 100%, 10/10" in capfd.readouterr().err
    assert "bottleneck: " not in caplog.text


@pytest.mark.slow
def test_invalid_images_are_those_of_one_process(config, on_ray, photos, tmp_path, tree):
    (photos / "train/cat/1.png").write_bytes(b"no image")
    options = {"dataset": {"kind": "folder", "root": str(photos)}, "codec": "float16", "on_error": "skip"}
    here = extract(config(**options, cache=str(tmp_path / "here")))
    there = extract(config(**options, cache=str(tmp_path / "ray"), engine=on_ray))
    assert here.invalid == there.invalid == 1
    assert tree(tmp_path / "ray") == tree(tmp_path / "here")
    with pytest.raises(InvalidImage, match=r"cannot read an image: train/cat/1.png: .*\nCorrect the file"):
        extract(config(**(options | {"on_error": "fail"}), cache=str(tmp_path / "fails"), engine=on_ray))


@pytest.mark.slow
def test_a_killed_node_costs_nothing(config, ray_cluster, on_ray, tmp_path, tree, caplog, monkeypatch):
    options = {"limit": 800, "rows_per_shard": 4, "batch_size": 1}
    extract(config(**options, cache=str(tmp_path / "here")))
    heard = set()
    listen = RayPool._listen

    def killing(pool, worker, work, answer):
        listen(pool, worker, work, answer)
        both = len(heard) == 2
        if isinstance(pool._task, EncodingTask):
            heard.add(worker.actor)
        if len(heard) == 2 and not both:
            ray_cluster.kill_a_node()

    monkeypatch.setattr(RayPool, "_listen", killing)
    extract(config(**options, cache=str(tmp_path / "ray"), engine=on_ray))
    assert sum("Another one does the rest" in message for message in caplog.messages) == 1
    assert tree(tmp_path / "ray") == tree(tmp_path / "here")
    assert verify(tmp_path / "ray").ok


def test_runs_follow_each_other_and_leave_no_shard_out(config, monkeypatch):
    class Two:
        in_process, workers, cores = False, 2, 3

        def resolve_device(self, name: str) -> str:
            return "cpu"

    extractor = Extractor(config(workers=None), engine=Two())
    assert extractor.forward.workers == 3
    shards = [[f"{shard}a", f"{shard}b"] for shard in range(20)]
    runs = extractor._runs(shards)
    assert len(runs) == 16
    assert [batch for run in runs for batch in run] == [batch for shard in shards for batch in shard]
    assert len(extractor._runs(shards[:3])) == 3


def test_the_rest_of_a_run_are_the_shards_that_were_not_told(config):
    segment = Segment(
        name="train", number=0, images=6, keys_sha256="0" * 64, rows_per_shard=2, labels_sha256={}
    )
    item = [ShardBatch(segment, shard, [f"{shard}{row}"], []) for shard in (1, 2, 5) for row in "ab"]
    task = EncodingTask(None, "auto", "float16", None, whole_shards=True)
    assert [task.rest(item, told) for told in range(4)] == [item, item[2:], item[4:], []]
