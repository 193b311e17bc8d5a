"""The job of losa-vtab1k and losa-fgvc."""

import sys

from omegaconf import DictConfig

from losa.cache_format import LosaError
from losa.pipelines import resolvers
from losa.pipelines.command_line import run_command, to_config
from losa.pipelines.plain_text import visible
from losa.pipelines.suite.config import SuiteConfig
from losa.pipelines.suite.suite_run import SuiteRun
from losa.pipelines.suite.swept_options import gathered
from losa.pipelines.suite.tasks import Suite

resolvers.register()


def run_suite(suite: Suite) -> None:
    """Run a suite as a command, whose configuration has its name."""
    typed = sys.argv[1:]

    def task(composed: DictConfig) -> None:
        SuiteRun(suite, to_config(SuiteConfig, composed), typed).run()

    try:
        arguments = gathered(typed)
    except LosaError as error:
        sys.exit(visible(f"error: {error}"))
    run_command(suite.name, SuiteConfig, task, arguments=arguments)
