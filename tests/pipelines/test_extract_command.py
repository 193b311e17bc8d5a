import json
import logging.config
import re
import shlex
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from PIL import Image

from losa.cache_format import Cache

Command = Callable[..., Any]

TOY = ["backbone.name=test_vit", "backbone.pretrained=false"]


def test_it_says_what_it_does_and_what_comes_next(command: Command, extracted: Path) -> None:
    again = command(
        extracted,
        "losa-extract",
        "backbone.name=test_vit",
        "backbone.pretrained=false",
        "sites=2",
        "limit=40",
        "cache=cache",
    )
    assert again.returncode == 0
    assert "The backbone is untrained" in again.stderr
    assert "images  0 to extract in 0 shards (3 shards are finished)" in again.stderr
    assert "next: losa-adapt cache=cache side=losa rank=8" in again.stderr
    assert Cache(extracted / "cache").sites == ("block.02", "block.05")


def test_several_label_columns_and_what_is_left_out_are_told(command: Command, tmp_path: Path) -> None:
    for number in range(4):
        Image.new("L", (8, 8), number).save(tmp_path / f"{number}.png")
    rows = [f"{number}.png,s{number % 2},{number}" for number in range(4)]
    (tmp_path / "pets.csv").write_text("\n".join(["file,species,colour", *rows]))
    done = command(
        tmp_path,
        "losa-extract",
        "dataset=table",
        "dataset.root=.",
        "dataset.file=pets.csv",
        "dataset.label_columns=[species,colour]",
        "backbone.name=test_vit",
        "backbone.pretrained=false",
        "sites=1",
        "workers=0",
        "cache=cache",
    )
    assert done.returncode == 0, done.stderr
    assert "pets.csv: images from column 'file'" in done.stderr
    assert " cache=cache split=0.8\n" in done.stderr
    again = shlex.split(done.stderr.partition("next: losa-extract ")[2].splitlines()[0])
    cut = command(tmp_path, "losa-extract", *again)
    expected = "next: losa-adapt cache=cache label=species train_split=train eval_split=test side=losa rank=8"
    assert f"label columns: species, colour\n{expected}" in cut.stderr
    assert [column.name for column in Cache(tmp_path / "cache").manifest.labels] == ["species", "colour"]


def test_sums_and_a_pooled_grid_go_from_command_to_command(command: Command, tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        finished = command(tmp_path, *arguments)
        assert finished.returncode == 0, finished.stderr
        return str(finished.stdout)

    run("losa-extract", *TOY, "sites=[sum:6,1]", "grid=5x2", "limit=20", "workers=0", "cache=cache")
    assert Cache(tmp_path / "cache").sites == ("sum:all", "block.05")
    described = " ".join(run("losa-cache", "info", "cache").split())
    assert re.search(r"2 sites x 11 tokens x \d+ channels; grid of 10 x 10 pooled to 5 x 2 ", described)
    sweep = ["side=relay,linear", "sites=sum:6,[sum:all,block.05],1", "epochs=1", "eval_split=val200"]
    run("losa-adapt", "-m", "cache=cache", *sweep)
    summaries = [json.loads(path.read_text()) for path in tmp_path.glob("runs/*/summary.json")]
    read = {(summary["side"], *summary["sites"]) for summary in summaries}
    assert read == {
        ("linear", "sum:all"),
        ("linear", "block.05"),
        ("relay", "sum:all"),
        ("relay", "block.05"),
        ("relay", "sum:all", "block.05"),
    }
    run("losa-cache", "convert", "cache", "--to", "small", "--sites", "sum:6")
    assert Cache(tmp_path / "small").sites == ("sum:all",)
    run("losa-extract", *TOY, "sites=sum:all", "grid=5x2", "limit=20", "cache=small")
    run("losa-evaluate", "runs", "limit=4", "workers=0", "dataset=digits", "eval_split=test")


def test_it_leaves_nothing_but_the_cache(extracted: Path) -> None:
    assert [path.name for path in extracted.iterdir() if path.name != "runs"] == ["cache"]


def test_plan_stops_before_the_first_image(command: Command, tmp_path: Path) -> None:
    planned = command(
        tmp_path,
        "losa-extract",
        "backbone.name=test_vit",
        "backbone.pretrained=false",
        "plan=true",
        "cache=c",
        "--json",
    )
    assert planned.returncode == 0
    words = (
        r"images +1,797 to extract in 30 shards\nsites +6, 41,208 bytes .*\nbytes .*\ntime .*\nbreak-even "
    )
    assert re.search(words, planned.stderr)
    figures = json.loads(planned.stdout)
    assert figures["bytes"] == pytest.approx(1797 * 41_208, rel=0.01)
    assert figures["seconds"] > 0
    assert not list(tmp_path.glob("c/arrays.zarr/segments/*/codes/c.*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sitez=4"], "there is no option 'sitez'; did you mean 'sites'?"),
        (["dataset.roto=x"], "there is no option 'dataset.roto'; did you mean 'dataset.root'?"),
        (["dataset=vtab/dtdd"], "did you mean 'vtab/dtd'?"),
        (["backbone=vit_b61"], "did you mean 'vit_b16'?"),
        (
            ["codec=int9"],
            "codec=int9: expected one of float32, float16, bfloat16, int8, int4; did you mean 'int8'?",
        ),
        (["batch_size=0"], "batch_size=0: input should be greater than or equal to 1"),
        (["rows_per_shard=many"], "rows_per_shard=many: input should be a valid integer"),
        (["dataset=lists"], "dataset=lists needs dataset.root=<folder>"),
        (["dataset=folder", "dataset.root=nowhere"], "dataset.root: there is no folder nowhere"),
        (["backbone.checkpoint=nowhere.pt"], "backbone.checkpoint: there is no file nowhere.pt"),
        (["views=2"], "error: views=2 needs the names of the splits to train on: splits=[train800val200]"),
        (["grid=seven"], "grid=seven: expected a number (7: 7 x 7 tokens), or height and width (7x14)"),
        (["grid=[5,5]"], "grid=[5,5]: input should be a valid "),
        (["backbone.name=test_vti"], "has no such model; did you mean 'test_vit"),
    ],
)
def test_the_wrong_thing_gets_a_clear_answer(
    command: Command, tmp_path: Path, arguments: list[str], message: str
) -> None:
    failed = command(tmp_path, "losa-extract", *arguments)
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: ")
    assert message in failed.stderr
    assert "Traceback" not in failed.stderr
    assert not list(tmp_path.iterdir())


def test_the_cache_of_another_backbone_is_refused(command: Command, extracted: Path) -> None:
    failed = command(
        extracted,
        "losa-extract",
        "backbone.name=test_vit2",
        "backbone.pretrained=false",
        "limit=40",
        "cache=cache",
    )
    assert failed.returncode == 1
    assert re.search(r"backbone\.name +expected 'test_vit2', found 'test_vit'", failed.stderr)


@pytest.mark.parametrize("name", ["losa-extract", "losa-adapt"])
def test_help_shows_every_option_with_its_explanation(command: Command, tmp_path: Path, name: str) -> None:
    helped = command(tmp_path, name, "--help")
    assert helped.returncode == 0
    assert helped.stdout.startswith(f"{name}: ")
    option = "rows_per_shard: 64 " if name == "losa-extract" else "rank: auto "
    assert re.search(rf"  {option} +# ", helped.stdout)
    assert not list(tmp_path.iterdir())


def test_control_characters_of_names_do_not_act_on_the_terminal(command: Command, tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"photos/\x1b[31mclass{number}").mkdir(parents=True)
        (tmp_path / f"photos/\x1b[31mclass{number}/0.png").write_bytes(b"no image")
    options = "dataset=folder dataset.root=photos backbone.name=test_vit backbone.pretrained=false workers=0"
    failed = command(tmp_path, "losa-extract", *options.split())
    assert (failed.returncode, "\x1b" in failed.stderr) == (1, False)
    assert "cannot read an image: \\x1b[31mclass0/0.png" in failed.stderr
    skipping = command(tmp_path, "losa-extract", *options.split(), "codec=float32", "on_error=skip")
    assert "skipped: \\x1b[31mclass0/0.png" in skipping.stderr
    assert "\x1b[31m" not in skipping.stderr


def test_the_lines_of_the_hub_come_once(monkeypatch: pytest.MonkeyPatch) -> None:
    text = files("losa.conf").joinpath("hydra/job_logging/plain.yaml").read_text()
    changed = [logging.getLogger(name) for name in ("", "losa", "huggingface_hub")]
    before = [(logger, logger.level, logger.handlers[:]) for logger in changed]
    hub = changed[-1]
    monkeypatch.setattr(hub, "handlers", [logging.StreamHandler()])  # as huggingface_hub makes it
    try:
        logging.config.dictConfig(OmegaConf.to_container(OmegaConf.create(text)))
        assert (hub.handlers, hub.propagate) == ([], True)
    finally:
        for logger, level, handlers in before:
            logger.setLevel(level)
            logger.handlers[:] = handlers


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("grid=7", "error: grid=7x7: the grid of this backbone has 10 x 10 tokens"),
        ("sites=sum:7", "error: 'sum:7': sites=7: expected a number from 1 to 6"),
        ("sites=[sum:block.05+blok.04]", "there is no site 'blok.04' here; there are embed, block.00"),
    ],
)
def test_what_the_backbone_does_not_have_is_refused(
    command: Command, tmp_path: Path, option: str, message: str
) -> None:
    failed = command(tmp_path, "losa-extract", *TOY, option)
    assert failed.returncode == 1
    assert message in failed.stderr
    assert not list(tmp_path.iterdir())
