from pathlib import Path

from losa.pipelines.trackers.run_names import RunName


def test_a_command_finds_its_own_run(tmp_path: Path) -> None:
    name = RunName(tmp_path / "runs", "wandb", ["rank=4,8"])
    assert name.read() is None
    name.write("a1b2")
    assert RunName(tmp_path / "runs", "wandb", ["rank=4,8"]).read() == "a1b2"
    assert RunName(tmp_path / "runs", "wandb", ["rank=4"]).read() is None
    assert RunName(tmp_path / "runs", "mlflow", ["rank=4,8"]).read() is None
