"""FGVC: the five data sets of fine-grained classes on which VPT (arXiv 2203.12119) compared methods."""

from losa.pipelines.suite.job import run_suite
from losa.pipelines.suite.tasks import Suite, Task

FGVC = Suite(
    name="fgvc",
    title="FGVC",
    groups={
        "fine-grained": (
            Task(
                name="cub",
                dataset="fgvc/cub",
                num_classes=200,
                folders=("cub", "CUB_200_2011"),
                layout="cub",
            ),
            Task(
                name="nabirds",
                dataset="fgvc/nabirds",
                num_classes=555,
                folders=("nabirds",),
                layout="nabirds",
            ),
            Task(
                name="flowers",
                dataset="fgvc/flowers",
                num_classes=102,
                folders=("flowers", "OxfordFlower", "oxford_flowers102"),
                layout="flowers",
            ),
            Task(
                name="dogs",
                dataset="fgvc/dogs",
                num_classes=120,
                folders=("dogs", "Stanford-dogs", "stanford_dogs"),
                layout="dogs",
            ),
            Task(
                name="cars",
                dataset="fgvc/cars",
                num_classes=196,
                folders=("cars", "Stanford-cars", "stanford_cars"),
                layout="cars",
            ),
        ),
    },
    needs_lists=False,
)


def run() -> None:
    """Run losa-fgvc as a command."""
    run_suite(FGVC)
