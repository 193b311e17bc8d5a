"""Every command that the pages name is one that its own parser takes.

Nothing runs here: options of Hydra are composed and validated as in a job, subcommands are parsed.
"""

import ast
import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer
from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
from hydra.types import RunMode
from markdown_it import MarkdownIt
from markdown_it.token import Token
from omegaconf import DictConfig

from losa.adapt import AdaptConfig
from losa.cache_format import LosaError
from losa.extract import ExtractConfig
from losa.pipelines.arguments import checked_arguments, parsed_arguments
from losa.pipelines.command_line import to_config
from losa.pipelines.evaluation.config import EvaluateConfig
from losa.pipelines.evaluation.job import without_preset
from losa.pipelines.export.config import ExportConfig
from losa.pipelines.job_configs import JobConfigLoader
from losa.pipelines.options import options_of
from losa.pipelines.predict.config import PredictConfig
from losa.pipelines.serve.config import ServeConfig
from losa.pipelines.suite.config import SuiteConfig

ROOT = Path(__file__).parents[1]
PAGES = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "docs").rglob("*.ipynb")),
)
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
SCHEMAS = (AdaptConfig, ExtractConfig, EvaluateConfig, ExportConfig, PredictConfig, ServeConfig, SuiteConfig)
OPTIONS = {"search", *(name for schema in SCHEMAS for name in options_of(schema))}
FLAGS = {"--help", "--config-dir"}
"""Those that the commands with options of Hydra take, and pages name."""


class Typed(NamedTuple):
    """A command line on a page."""

    page: Path
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}: {self.text}"


def markdown_of(page: Path) -> str:
    """The text of a page; of a notebook, with its code in blocks."""
    text = page.read_text(encoding="utf-8")
    if page.suffix != ".ipynb":
        return text
    cells = [("".join(cell["source"]), cell["cell_type"]) for cell in json.loads(text)["cells"]]
    return "\n\n".join(f"```\n{source}\n```" if kind == "code" else source for source, kind in cells)


def code(tokens: Sequence[Token], line: int = 0) -> Iterator[tuple[Token, int]]:
    """Blocks and spans of code, with the lines on which they, or their paragraphs, begin."""
    for token in tokens:
        line = token.map[0] + 1 if token.map else line
        if token.type in ("fence", "code_block", "code_inline"):
            yield token, line
        yield from code(token.children or (), line)


CODE = [(page, line, token) for page in PAGES for token, line in code(MARKDOWN.parse(markdown_of(page)))]


def command_lines() -> Iterator[Typed]:
    """What begins with the name of a command, in blocks and in spans."""
    for page, line, token in CODE:
        if token.info not in ("python", "text"):
            for text in re.sub(r"\\\n\s*", "", token.content).splitlines():
                if found := re.fullmatch(r"(?:\$ |!|srun .* -- )?(losa-[a-z0-9]+\b.*)", text.strip()):
                    yield Typed(page, line, found[1])


def spans(pattern: str) -> list[Typed]:
    """Spans of code in the text of pages that match a pattern as a whole."""
    return [
        Typed(page, line, token.content)
        for page, line, token in CODE
        if token.type == "code_inline" and re.fullmatch(pattern, token.content)
    ]


COMMAND_LINES = sorted({typed.text: typed for typed in command_lines()}.values())


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
    """As few jobs of a sweep as have every value of every option."""
    alternatives = [values(one) for one in OverridesParser.create().parse_overrides(list(overrides))]
    for number in range(max(map(len, alternatives), default=1)):
        yield [each[min(number, len(each) - 1)] for each in alternatives]


class Validation:
    """Stands in for `run_command`: composes and validates, and supplies what an example leaves out."""

    def __init__(self) -> None:
        self._loader = JobConfigLoader(GlobalHydra.instance().config_loader())  # reads every file once
        self._masters: dict[str, DictConfig] = {}

    def __call__(
        self,
        config_name: str,
        schema: type[Any],
        task: object,
        conclude: object = None,
        arguments: Sequence[str] | None = None,
    ) -> None:
        arguments = sys.argv[1:] if arguments is None else arguments
        overrides = parsed_arguments(checked_arguments(arguments, options_of(schema)))[0].overrides
        if (
            find_spec("hydra_plugins.hydra_optuna_sweeper") is None
        ):  # an extra that does not go with the others
            overrides = [one for one in overrides if not one.startswith(("hydra/sweeper=", "hydra.sweeper."))]
        for job in jobs(overrides):
            self._validate(config_name, schema, job)

    def _validate(self, config_name: str, schema: type[Any], job: list[str]) -> None:
        composed = self._loader.load_options(self._master(config_name), job)
        if config_name == "evaluate":
            composed = without_preset(composed, job)
        try:
            to_config(schema, composed)
        except LosaError as error:
            missing = re.match(r"([\w.]+)=\.\.\. is missing", str(error))
            if missing is None:
                raise
            self._validate(config_name, schema, [*job, f"{missing[1]}=somewhere"])

    def _master(self, config_name: str) -> DictConfig:
        if config_name not in self._masters:
            self._masters[config_name] = self._loader.load_configuration(config_name, [], RunMode.MULTIRUN)
        return self._masters[config_name]


def tool(name: str) -> Any:
    """A command with subcommands, as it is parsed."""
    return typer.main.get_command(import_module(f"losa.pipelines.{TOOLS[name]}").tool)


@pytest.fixture(scope="module")
def parse() -> Iterator[Callable[[str], None]]:
    """``parse(text)``: refuse a command line that its command would refuse."""
    with pytest.MonkeyPatch.context() as patch, initialize_config_module("losa.conf", version_base="1.3"):
        validate = Validation()
        for job in ("extract_job", "adapt_job", "places", "suite.job"):
            patch.setattr(f"losa.pipelines.{job}.run_command", validate)
        patch.setattr("losa.pipelines.adapt_job.tracking", lambda _: nullcontext())
        tools = {name: tool(name) for name in TOOLS}
        for subcommand in (each for one in tools.values() for each in one.commands.values()):
            patch.setattr(subcommand, "callback", lambda **_: None)

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


@pytest.mark.parametrize("typed", COMMAND_LINES, ids=str)
def test_commands_take_what_pages_say(parse: Callable[[str], None], typed: Typed) -> None:
    parse(typed.text)


@pytest.mark.parametrize(
    "text",
    [
        "losa-adapt -m cache=x rank=4,8 sdie=losa",
        "losa-adapt -m cache=x side=losa,lsoa",
        "losa-extract dataset=fodler",
        "losa-evaluate runs cache=x resize=crop",
        "losa-vtab1k root=x seed=1",
        "losa-cache convert CACHE --two OTHER",
        "losa-report efficiency data --no-such-option",
        "losa-adopt",
    ],
)
def test_other_commands_are_refused(parse: Callable[[str], None], text: str) -> None:
    with pytest.raises((Exception, SystemExit)):
        parse(text)


def test_indented_programs_import_what_there_is() -> None:
    programs = [
        token.content
        for _, _, token in CODE
        if token.type == "code_block" and token.content.startswith(("from ", "import "))
    ]
    assert programs
    for program in programs:
        for node in ast.walk(ast.parse(program)):
            if isinstance(node, ast.ImportFrom) and node.module is not None:
                module = import_module(node.module)
                assert all(hasattr(module, alias.name) for alias in node.names), program
            elif isinstance(node, ast.Import):
                assert all(import_module(alias.name) for alias in node.names), program


def test_options_that_are_named_exist() -> None:
    named = [
        (option, str(typed))
        for typed in spans(r"'?[a-z]\w*([./]\w+)*=.*")
        for option in re.findall(r"(?:^'?| )(\w+(?:[./]\w+)*)=", re.sub(r'".*"', "", typed.text))
    ]
    assert len(named) > 200
    assert not [where for option, where in named if option not in OPTIONS and not option.startswith("hydra")]


def test_flags_that_are_named_exist() -> None:
    subcommands = (each for name in TOOLS for each in tool(name).commands.values())
    parameters = [parameter for each in subcommands for parameter in each.params]
    flags = FLAGS.union(*(parameter.opts + parameter.secondary_opts for parameter in parameters))
    named = {typed: re.split("[ =]", typed.text)[0] for typed in spans("--[a-z].*")}
    assert len(named) > 50
    assert not [str(typed) for typed, flag in named.items() if flag not in flags]
