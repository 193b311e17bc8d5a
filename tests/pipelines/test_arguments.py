"""The command line: what is typed arrives, or a message says what to type."""

import re
import shlex
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from losa.adapt import AdaptConfig
from losa.cache_format import LosaError
from losa.extract import ExtractConfig
from losa.pipelines.arguments import checked_arguments
from losa.pipelines.options import options_of

Command = Callable[..., Any]

UNKNOWN_IN_GROUP = (
    "there is no option 'backbone.x'; backbone has: name, pretrained, checkpoint, seed, img_size, args"
)
OPTIONS = options_of(AdaptConfig) | options_of(ExtractConfig)
SIGNS = string.punctuation + " \tüß漢09eEab"
TEXTS = st.text(st.sampled_from(SIGNS) | st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


def suggested(message: str) -> str:
    """What a message says to type for a text."""
    pattern = r"For this very text, type (.*?)(?:\nLists and sweeps.*)?\Z"
    found = re.search(pattern, message.rstrip("\n"), re.DOTALL)
    assert found is not None, message
    return found[1]


def refusal_or_nothing(*arguments: str) -> str:
    try:
        checked_arguments(arguments, OPTIONS)
    except LosaError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["cache=caches/digits", "rank=8", "lr=1e-3", "bias=true", "patience=null"],
        ["cache=s3://bucket/x", "eval_split=[val,test]", "sites=[embed,5]", "halve_at=[5,10]"],
        ["rank=4,8", "lr=1e-3,3e-3", "norm=layer,none", "-m"],
        ["cache='a, b'", 'dataset.root="a, b"', "label=[a,'b, c']"],
        ["val_split=null", "limit=null", "splits=null"],
        ["dataset=vtab/dtd", "hydra/launcher=basic", "hydra.sweeper.max_batch_size=100"],
        ["lr=tag(log,interval(1e-4,1e-2))", "rank=choice(4,8)", "cache=glob(*)", "-m"],
        ["+experiment=mine", "++note=1", "~hydra.callbacks.results", "--config-dir", "conf"],
        ["cache=${out}/cache", "cache=${out}/cache", "dataset.root=${out} "],
        ["cache=a", "--cfg", "job"],
        ['dataset.shards={train:"in-{00..19}.tar",test:"out-*.tar"}'],
    ],
    ids=str,
)
def test_what_hydra_reads_as_it_is_meant_is_passed_on(arguments: list[str]) -> None:
    assert checked_arguments(arguments, OPTIONS) == arguments


@pytest.mark.parametrize(
    ("typed", "passed_on"),
    [
        ("cache=10", 'cache="10"'),
        ("cache=1e3", 'cache="1e3"'),
        ("cache=1_000", 'cache="1_000"'),
        ("cache=nan", 'cache="nan"'),
        ("cache=True", 'cache="True"'),
        ("cache= a ", 'cache=" a "'),
        ("train_split=2007", 'train_split="2007"'),
        ("train_split=[2007,2012,extra]", 'train_split=["2007","2012",extra]'),
        ("splits=[2007, 2012]", 'splits=["2007","2012"]'),
        ("dataset.name=007", "dataset.name=007"),
        ("+dataset.root=1", '+dataset.root="1"'),
        ("label=['1, 2',3]", "label=['1, 2',3]"),
    ],
)
def test_a_text_stays_the_text_that_was_typed(typed: str, passed_on: str) -> None:
    assert checked_arguments([typed], OPTIONS) == [passed_on]


def test_texts_in_a_sweep_stay_too() -> None:
    swept = ["-m", "cache=a,10,1e3", "eval_split=[1,2],[x],3", "rank=4,8"]
    assert checked_arguments(swept, OPTIONS) == [
        'cache=a,"10","1e3"',
        'eval_split=["1","2"],[x],"3"',
        "rank=4,8",
        "-m",
    ]


def test_options_may_stand_on_both_sides_of_a_flag() -> None:
    typed = ["cache=a", "-m", "rank=4,8", "--config-dir", "conf", "seed=0"]
    in_order = ["cache=a", "rank=4,8", "seed=0", "-m", "--config-dir", "conf"]
    assert checked_arguments(typed, OPTIONS) == in_order


@given(text=TEXTS)
@example(text="a,")
@example(text="[a")
@example(text="null")
@example(text="a,b")
@example(text="[a]")
@example(text="{a: 1}")
def test_whatever_is_refused_can_be_typed_as_the_message_says(
    text: str, arrived: Callable[[str], str]
) -> None:
    message = refusal_or_nothing(f"dataset.root={text}")
    if message and " is empty" not in message:
        assert arrived(suggested(message)) == text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cache=my photos (1), v=2"], "type 'cache=\"my photos (1), v=2\"'"),
        (["cache=[a]"], "cache=[a] means a list. For this very text, type 'cache=\"[a]\"'"),
        (["cache={a:1}"], "cache={a:1} means a mapping. For this very text, type 'cache=\"{a:1}\"'"),
        (["cache=null"], "cache=null means no value. For this very text, type 'cache=\"null\"'"),
        (["cache="], "cache= is empty: give it a value, or leave it out for the default"),
        (["dataset.root=''"], "is empty"),
        (["rank=8#"], "rank=8#: cannot be read, because commas, brackets, quotes"),
        (["lr=1e-3,", "3e-3"], "Lists and sweeps are typed without spaces: lr=a,b"),
        (["eval_split=[val,", "test]"], "Lists and sweeps are typed without spaces: 'eval_split=[a,b]'"),
        (
            ["rank=4,8"],
            "rank=4,8: commas separate the values of a sweep, which -m runs: one job for each",
        ),
        (["eval_split=val,test"], "For a list, type 'eval_split=[val,test]'"),
        (["cache=a", "cache=b"], "cache is given twice, as cache=a and as cache=b: leave one of them out"),
        (["dataset=digits", "dataset=folder"], "dataset is given twice, as dataset=digits and as"),
        (["photos"], "expected name=value, found 'photos'; --help lists the options"),
        (["cache", "=", "x"], "expected name=value, found 'cache'; --help lists the options"),
        (["=x"], "expected name=value, found '=x'"),
        ([""], "expected name=value, found ''"),
        (["dataset.root=my", "photos"], "If it belongs to dataset.root=my, type 'dataset.root=my photos'"),
        (["cache =x"], "'cache =x': type it without spaces, cache=x"),
        (["caché=x"], "there is no option 'caché'; did you mean 'cache'?"),
        (["hydra.run.dir=#"], "hydra.run.dir=#: Hydra cannot read this value"),
        (["~rank"], "~rank: an option cannot be removed; give it another value, rank=..."),
        (
            ["+dataset=folder"],
            "there is one already; to choose another, type dataset=folder",
        ),
        (["--cache=a b"], "--cache=a b: options are given without dashes, 'cache=a b'"),
        (["--rows-per-shard", "5"], "--rows-per-shard: options are given without dashes, rows_per_shard=..."),
        (["--rnk=5"], "there is no flag --rnk=5; --help lists the options"),
        (["-x"], "there is no flag -x; --help lists the options"),
        (
            ["-m", "--cfg", "job", "rank=4,8"],
            "--multirun and --cfg: expected one of them; --cfg, --info and --shell_completion run nothing",
        ),
        (["--cfg", "all of it"], "argument --cfg/-c: invalid choice: 'all of it'"),
    ],
    ids=str,
)
def test_the_wrong_thing_gets_a_clear_answer(arguments: list[str], message: str) -> None:
    assert message in refusal_or_nothing(*arguments)


def test_the_same_thing_twice_is_no_contradiction() -> None:
    assert checked_arguments(["rank=8", "rank=8"], OPTIONS) == ["rank=8", "rank=8"]


@pytest.mark.parametrize("mode", [[], ["-m"]], ids=["single", "multirun"])
@pytest.mark.parametrize(
    ("name", "option", "others", "answer"),
    [
        ("losa-adapt", "cache", [], "{} is not a cache"),
        ("losa-extract", "dataset.root", ["dataset=folder"], "there is no folder {}"),
        ("losa-extract", "backbone.checkpoint", [], "there is no file {}"),
    ],
)
def test_the_commands_read_what_they_say_to_type(
    name: str, option: str, others: list[str], answer: str, mode: list[str], command: Command, tmp_path: Path
) -> None:
    for text in ("my ${HOME} (1), v=2", "~/Über#1"):
        refused = command(tmp_path, name, *mode, *others, f"{option}={text}")
        if "${" in text:
            assert "cannot be read" in refused.stderr
        (typed,) = shlex.split(suggested(refused.stderr))
        again = command(tmp_path, name, *mode, *others, typed)
        assert answer.format(Path(text).expanduser()) in again.stderr
        assert "Traceback" not in again.stderr


@pytest.mark.parametrize("mode", [[], ["-m"]], ids=["single", "multirun"])
def test_an_interpolation_of_nothing_is_explained(command: Command, tmp_path: Path, mode: list[str]) -> None:
    refused = command(tmp_path, "losa-adapt", *mode, "cache=${HOME}/x")
    assert "Interpolation key 'HOME' not found" in refused.stderr
    (typed,) = shlex.split(suggested(refused.stderr.splitlines()[-1]))
    assert "${HOME}/x is not a cache" in command(tmp_path, "losa-adapt", *mode, typed).stderr


@pytest.mark.parametrize("mode", [[], ["-m"]], ids=["single", "multirun"])
def test_results_go_home(
    mode: list[str],
    command: Command,
    extracted: Path,
    training: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    finished = command(extracted, "losa-adapt", *mode, f"cache={extracted}/cache", 'out="~/my runs"')
    assert finished.returncode == 0, finished.stderr
    assert list(tmp_path.glob("my runs/*/summary.json"))
    assert not (extracted / "~").exists()


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("+backbone.x=1", UNKNOWN_IN_GROUP),
        ("++backbone.x=1", UNKNOWN_IN_GROUP),
        ("backbone.x=1", UNKNOWN_IN_GROUP),
        ("backbone.nme=1", "there is no option 'backbone.nme'; did you mean 'backbone.name'?"),
        ("+foo=1", "there is no option 'foo'; --help lists them"),
        ("+codec.zzzz=4", "there is no option 'codec.zzzz'; --help lists them"),
        ("splits=2007", "splits=2007: expected a list, 'splits=[2007]'"),
    ],
)
def test_what_only_the_composed_configuration_shows(
    argument: str, message: str, command: Command, tmp_path: Path
) -> None:
    assert command(tmp_path, "losa-extract", argument).stderr == f"error: {message}\n"


def test_the_next_command_can_be_typed(command: Command, tmp_path: Path) -> None:
    place = "my caches (1)/it's"
    options = ["limit=10", "sites=1", "workers=0", "backbone.name=test_vit", "backbone.pretrained=false"]
    finished = command(tmp_path, "losa-extract", *options, f'cache="{place}"')
    assert finished.returncode == 0, finished.stderr
    words = shlex.split(finished.stderr.partition("next: ")[2].splitlines()[0])
    assert checked_arguments(words[1:], OPTIONS)[0] == 'cache="my caches (1)/it\'s"'
