from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]


def test_a_table_is_printed_and_printed_again(
    command: Command, sweep: Path, digits: Any, tmp_path: Path
) -> None:
    arguments = [str(sweep), f"cache={digits('int8')}", "device=cpu"]
    first, second = (command(tmp_path, "losa-evaluate", *arguments) for _ in range(2))
    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout
    assert "digits, split test: 24 images, 0 invalid" in first.stdout
    assert {"last", "losa", "linear"} <= set(first.stdout.split())
    (folder,) = (tmp_path / "evaluations").iterdir()
    assert folder.name.startswith("digits-test-")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "which images? cache=<folder of a cache>, or dataset=<name>"),
        (["cache=x", "dataset=digits"], "expected one of the two, both are given"),
        (["cache=x", "split=test"], "eval_split=test chooses the split to judge on"),
        (["cache=x", "split=0.5"], "split=0.5: a cache has its splits already"),
        (["dataset=digits", "split_of=x"], "split_of=x needs split=..."),
        (["dataset=digits", "split_seed=3"], "split_seed=3 needs split=..."),
        (["cache=x", "split_seed=3"], "split_seed=3: a cache has its splits already"),
        (["cache=x", "on_error=skip"], "on_error=skip: a cache has the activations already, so no image is"),
        (["cache=x", "dtype=bfloat16"], "dtype=bfloat16: a cache has the activations already"),
        (["cache=x", "backbone.seed=1"], "a cache has the activations already"),
        (["cache=x"], "x is not a cache"),
        (["dataset=vtab/dtd", "resize=crop"], "there is no option 'resize': images are prepared as"),
        (["dataset=digits", "backbone.seed=1", "backbone.pretrained=false"], "this is not the backbone"),
        (["dataset=digits", "limti=3"], "did you mean 'limit'?"),
        (["dataset=digits", "backbone=vit_b16"], "its options are backbone.name"),
    ],
)
def test_the_wrong_thing_gets_a_clear_answer(
    command: Command, sweep: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    failed = command(tmp_path, "losa-evaluate", str(sweep), *arguments, "device=cpu")
    assert failed.returncode == 1
    assert message in failed.stderr
    assert "Traceback" not in failed.stderr
    assert not list(tmp_path.iterdir())


def test_side_networks_must_be_named(command: Command, tmp_path: Path) -> None:
    failed = command(tmp_path, "losa-evaluate", "cache=x")
    assert (failed.returncode, "name side networks: losa-evaluate" in failed.stderr) == (1, True)
