"""FGVC: the five data sets of fine-grained classes on which VPT (arXiv 2203.12119) compared methods."""

from losa.extract.config import FgvcLayout
from losa.pipelines.suite.job import run_suite
from losa.pipelines.suite.tasks import Suite, Task

_TASKS: dict[FgvcLayout, tuple[int, tuple[str, ...]]] = {
    "cub": (200, ("cub", "CUB_200_2011")),
    "nabirds": (555, ("nabirds",)),
    "flowers": (102, ("flowers", "OxfordFlower", "oxford_flowers102")),
    "dogs": (120, ("dogs", "Stanford-dogs", "stanford_dogs")),
    "cars": (196, ("cars", "Stanford-cars", "stanford_cars")),
}
"""Number of classes, and names of folders."""

FGVC = Suite(
    name="fgvc",
    title="FGVC",
    groups={
        "fine-grained": tuple(
            Task(name=name, dataset=f"fgvc/{name}", num_classes=classes, folders=folders, layout=name)
            for name, (classes, folders) in _TASKS.items()
        )
    },
    needs_lists=False,
)


def run() -> None:
    """Run losa-fgvc as a command."""
    run_suite(FGVC)
