"""Commands on several machines: on a Ray cluster, or in parts that are merged."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]

BACKBONE = ["backbone.name=test_vit", "backbone.pretrained=false"]
EXTRACT = [*BACKBONE, "sites=2", "limit=40", "workers=0", "rows_per_shard=8"]
SPLITS = ["train_split=train800", "eval_split=val200", "val_split=val200"]


def files(cache: Path) -> dict[str, bytes]:
    return {str(path.relative_to(cache)): path.read_bytes() for path in cache.rglob("*") if path.is_file()}


def results(sweep: Path) -> list[dict[str, str]]:
    """The lines of the table without what depends on time and place."""
    with (sweep / "results.csv").open() as file:
        lines = list(csv.DictReader(file))
    return [{name: line[name] for name in ("side", "lr", "accuracy.val200", "status")} for line in lines]


@pytest.mark.parametrize("store", ["zarr", "hdf5"])
def test_merged_parts_are_the_cache_of_one_extraction(command: Command, tmp_path: Path, store: str) -> None:
    options = [*EXTRACT, f"store={store}"]
    assert command(tmp_path, "losa-extract", *options, "cache=whole").returncode == 0
    for part in (3, 1, 2):
        finished = command(tmp_path, "losa-extract", *options, f"cache=part-{part}", f"part={part}/3")
        assert finished.returncode == 0, finished.stderr
        assert "next: losa-cache merge PART PART ... --to CACHE" in finished.stdout + finished.stderr
    parts = [f"part-{part}" for part in (1, 2, 3)]
    merged = command(tmp_path, "losa-cache", "merge", *parts, "--to", "merged")
    assert merged.returncode == 0, merged.stderr
    assert files(tmp_path / "merged") == files(tmp_path / "whole")


def test_a_part_that_does_not_exist_is_refused(command: Command, tmp_path: Path) -> None:
    finished = command(tmp_path, "losa-extract", *EXTRACT, "cache=cache", "part=4/3")
    assert finished.returncode == 1
    assert "part=4/3: expected the number of a part and how many there are, such as 3/16" in finished.stderr


@pytest.mark.long
def test_a_sweep_on_ray_is_that_of_one_machine(command: Command, extracted: Path, ray_cluster: Any) -> None:
    sweep = ["-m", "cache=cache", "side=linear,losa", "lr=1e-3,1e-2", "epochs=2", *SPLITS]
    on_ray = ["engine=ray", f"engine.address={ray_cluster.address}"]
    assert command(extracted, "losa-adapt", *sweep, "out=runs/here").returncode == 0
    finished = command(extracted, "losa-adapt", *sweep, *on_ray, "out=runs/ray", "tracker=tensorboard")
    assert finished.returncode == 0, finished.stderr
    assert "engine=ray: 2 workers with 1 CPU each" in finished.stdout + finished.stderr
    assert results(extracted / "runs/ray") == results(extracted / "runs/here")
    assert (extracted / "runs/ray/tensorboard/run-1").is_dir()
    again = command(extracted, "losa-adapt", *sweep, *on_ray, "out=runs/ray", "tracker=tensorboard")
    assert "all 4 members are finished already" in again.stdout + again.stderr


def test_members_of_one_sweep_have_one_engine(command: Command, extracted: Path) -> None:
    finished = command(
        extracted, "losa-adapt", "-m", "cache=cache", "engine=local,ray", *SPLITS, "out=runs/two"
    )
    assert finished.returncode == 1
    assert "engine=...: expected one engine, with the same options, for all jobs" in finished.stderr


def test_an_option_of_the_other_engine_is_refused(command: Command, tmp_path: Path) -> None:
    finished = command(tmp_path, "losa-extract", *EXTRACT, "engine.address=auto")
    assert finished.returncode == 1
    assert "the chosen engine has no option 'engine.address'" in finished.stderr
    finished = command(tmp_path, "losa-extract", *EXTRACT, "engine=rai")
    assert "engine=rai: expected one of local, ray; did you mean 'ray'?" in finished.stderr
