import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from losa.adapt import AdaptConfig
from losa.pipelines.report.inputs.sweep import read_sweep
from losa.pipelines.result_rows import ResultRow

CONFIGS = [AdaptConfig(cache="caches/pets", rank=rank, seed=seed) for rank in (2, 4) for seed in (0, 1)]


def with_effect(config: AdaptConfig) -> dict[str, Any]:
    return {name: value for name, value in asdict(config).items() if name not in config.idle_options}


def test_members_with_their_costs(tmp_path: Path, make_sweep: Any) -> None:
    folder = make_sweep(tmp_path / "runs", CONFIGS, [0.5, 0.25, 0.75, 1.0])
    members = read_sweep(folder) or []
    assert [member.accuracy["test"] for member in members] == [0.75, 1.0, 0.5, 0.25]
    best = members[0]
    assert (best.task, best.kind, best.rank, best.sites, best.parameters) == ("pets", "losa", 4, 1, 1234)
    assert best.options["rank"] == "4"
    assert {"seed", "out", "side", "eval_split"}.isdisjoint(best.options)
    assert members[0].seeds != members[1].seeds
    assert best.folder is not None
    assert best.folder.is_dir()


def test_members_without_a_table(tmp_path: Path, make_sweep: Any) -> None:
    """As a single training leaves them; a member's own folder will do."""
    folder = make_sweep(tmp_path / "runs", CONFIGS[:2], [0.5, 0.25])
    (folder / "results.csv").unlink()
    members = read_sweep(folder) or []
    assert [member.accuracy["test"] for member in members] == [0.5, 0.25]
    assert members[0].folder is not None
    assert read_sweep(members[0].folder) == [members[0]]


def test_a_failed_seed_has_the_options_of_its_configuration(tmp_path: Path, make_sweep: Any) -> None:
    options = with_effect(replace(CONFIGS[0], seed=7))
    failed = ResultRow(options=options, status="failed", reason="too <b>bold</b>")
    members = read_sweep(make_sweep(tmp_path / "runs", CONFIGS, [0.5] * 4, [failed])) or []
    (lost,) = (member for member in members if member.status == "failed")
    assert lost.reason == "too <b>bold</b>"
    assert (lost.task, lost.rank, lost.seeds) == ("pets", 2, ("7",))
    assert [member for member in members if member.options == lost.options and member is not lost]


def test_a_failed_configuration_is_of_the_task_of_its_cache(tmp_path: Path, make_sweep: Any) -> None:
    configs = [*CONFIGS[:1], AdaptConfig(cache="caches/birds", rank=2)]
    options = with_effect(replace(configs[1], rank=9))
    failed = ResultRow(options=options, status="failed", reason="no memory")
    members = read_sweep(make_sweep(tmp_path / "runs", configs, [0.5, 0.5], [failed])) or []
    (lost,) = (member for member in members if member.status == "failed")
    assert (lost.task, lost.options["rank"], lost.accuracy) == ("birds", "9", {})


def test_a_member_whose_files_are_gone_is_told(tmp_path: Path, make_sweep: Any) -> None:
    folder = make_sweep(tmp_path / "runs", CONFIGS, [0.5] * 4)
    name = CONFIGS[1].member_name
    shutil.rmtree(folder / name)
    (lost,) = (member for member in read_sweep(folder) or [] if member.status == "failed")
    assert lost.reason == f"runs/{name}: its files are gone"


def test_other_folders_are_not_a_sweep(tmp_path: Path) -> None:
    assert read_sweep(tmp_path) is None
    (tmp_path / "results.csv").write_text("set,side\npets,losa\n")
    assert read_sweep(tmp_path) is None
