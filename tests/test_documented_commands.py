"""Every command that the pages name is one that its own parser takes.

Nothing runs here: overrides are composed and validated as in a job, subcommands are parsed without their bodies.
"""

import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer
from hydra import compose, initialize_config_module
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
from markdown_it import MarkdownIt
from markdown_it.token import Token

from losa.cache_format import LosaError
from losa.pipelines.arguments import checked_arguments, parsed_arguments
from losa.pipelines.command_line import to_config
from losa.pipelines.evaluation.job import without_preset
from losa.pipelines.options import options_of

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
MARKDOWN = MarkdownIt("commonmark").enable("table")
HYDRA_COMMANDS = {
    "losa-extract": "extract_job",
    "losa-adapt": "adapt_job",
    "losa-evaluate": "evaluation.job",
    "losa-predict": "predict.job",
    "losa-export": "export.job",
    "losa-serve": "serve.job",
    "losa-vtab1k": "suite.vtab1k",
    "losa-fgvc": "suite.fgvc",
}
"""Command -> its job, a module of losa.pipelines."""
TOOLS = {"losa-cache": "cache.command", "losa-bench": "bench.command", "losa-report": "report.command"}
"""Command with subcommands -> its module."""


class Typed(NamedTuple):
    """A command line on a page."""

    page: Path
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}: {self.text}"


def code(tokens: Sequence[Token], line: int = 0) -> Iterator[tuple[Token, int]]:
    """Blocks and spans of code, with the lines on which they, or their paragraphs, begin."""
    for token in tokens:
        line = token.map[0] + 1 if token.map else line
        if token.type in ("fence", "code_block", "code_inline"):
            yield token, line
        yield from code(token.children or (), line)


def spans(pattern: str) -> list[Typed]:
    """Spans of code in the text of pages that match a pattern as a whole."""
    return [
        Typed(page, line, token.content)
        for page in PAGES
        for token, line in code(MARKDOWN.parse(page.read_text(encoding="utf-8")))
        if token.type == "code_inline" and re.fullmatch(pattern, token.content)
    ]


def command_lines() -> Iterator[Typed]:
    """What begins with the name of a command, in blocks and in spans, without prompt and what goes before it."""
    for page in PAGES:
        for token, line in code(MARKDOWN.parse(page.read_text(encoding="utf-8"))):
            if token.info in ("python", "text"):
                continue
            for text in re.sub(r"\\\n\s*", "", token.content).splitlines():
                if found := re.fullmatch(r"(?:\$ |srun .* -- )?(losa-[a-z0-9]+\b.*)", text.strip()):
                    yield Typed(page, line, found[1])


COMMAND_LINES = list(command_lines())


def arguments_of(text: str) -> list[str]:
    """The words of a command line: ``<placeholder>`` is one, ``...`` and comments are none."""
    text = re.sub(r"<[^<>]+>", "placeholder", text)
    text = re.sub(r"\$\w+", "1", text)
    return [word for word in shlex.split(text, comments=True) if word != "..."]


def values(override: Override) -> list[Any]:
    """The overrides of the single jobs that a sweep over one option makes; of a range, its ends."""
    name, value = override.get_key_element(), override.value()
    if isinstance(value, ChoiceSweep):
        return [f"{name}={Override._get_value_element_as_str(choice)}" for choice in value.list]
    if isinstance(value, RangeSweep):
        return [f"{name}={value.start}"]
    if isinstance(value, IntervalSweep):
        return [f"{name}={value.start}", f"{name}={value.end}"]
    return [override.input_line]


def jobs(overrides: Sequence[str]) -> Iterator[list[str]]:
    """The first job of a sweep, then one for each further value of each option."""
    alternatives = [values(one) for one in OverridesParser.create().parse_overrides(list(overrides))]
    first = [each[0] for each in alternatives]
    yield first
    for place, each in enumerate(alternatives):
        for value in each[1:]:
            yield [*first[:place], value, *first[place + 1 :]]


def validate(config_name: str, schema: type[Any], _task: Any, *_: Any, arguments: Sequence[str] = ()) -> None:
    """Stand-in for `run_command`: composes and validates, and supplies what an example leaves out."""
    overrides = parsed_arguments(checked_arguments(arguments, options_of(schema)))[0].overrides
    if find_spec("hydra_plugins.hydra_optuna_sweeper") is None:  # an extra that does not go with the others
        overrides = [one for one in overrides if not one.startswith(("hydra/sweeper=", "hydra.sweeper."))]
    for job in jobs(overrides):
        for _attempt in range(4):
            composed = compose(config_name, job)
            if config_name == "evaluate":
                composed = without_preset(composed, job)
            try:
                to_config(schema, composed)
                break
            except LosaError as error:
                missing = re.match(r"([\w.]+)=\.\.\. is missing", str(error))
                if missing is None:
                    raise
                job = [*job, f"{missing[1]}=somewhere"]
        else:
            raise LosaError(f"too much is missing in {job}")


@pytest.fixture(scope="module")
def parse() -> Iterator[Callable[[str], None]]:
    """``parse(text)``: refuse a command line that its command would refuse."""
    with pytest.MonkeyPatch.context() as patch, initialize_config_module("losa.conf", version_base="1.3"):
        for job in ("extract_job", "adapt_job", "places", "suite.job"):
            patch.setattr(f"losa.pipelines.{job}.run_command", validate)
        patch.setattr("losa.pipelines.adapt_job.tracking", lambda _: nullcontext())
        tools = {}
        for name, module in TOOLS.items():
            tools[name] = typer.main.get_command(import_module(f"losa.pipelines.{module}").tool)
            for subcommand in tools[name].commands.values():  # type: ignore[attr-defined]
                subcommand.callback = lambda **_: None

        def check(text: str) -> None:
            name, *arguments = arguments_of(text)
            if name in tools:
                try:
                    tools[name].main(arguments, prog_name=name, standalone_mode=False)
                except Exception as error:
                    if type(error).__name__ not in ("MissingParameter", "NoArgsIsHelpError"):
                        raise
            elif name in HYDRA_COMMANDS and arguments:
                patch.setattr("sys.argv", [name, *arguments])
                import_module(f"losa.pipelines.{HYDRA_COMMANDS[name]}").run()
            else:
                assert entry_points(group="console_scripts", name=name), f"there is no command {name}"
                assert name in HYDRA_COMMANDS or not arguments, f"{name} takes no options"

        yield check


@pytest.mark.parametrize("typed", sorted({typed.text: typed for typed in COMMAND_LINES}.values()), ids=str)
def test_commands_take_what_pages_say(parse: Callable[[str], None], typed: Typed) -> None:
    parse(typed.text)
