"""VTAB-1K (arXiv 1910.04867): nineteen tasks of 800 and 200 images, in the community layout."""

from losa.pipelines.suite.job import run_suite
from losa.pipelines.suite.tasks import Suite, Task

_CLASSES = {
    "natural": {
        "caltech101": 102,
        "cifar": 100,
        "dtd": 47,
        "oxford_flowers102": 102,
        "oxford_iiit_pet": 37,
        "svhn": 10,
        "sun397": 397,
    },
    "specialized": {
        "patch_camelyon": 2,
        "eurosat": 10,
        "resisc45": 45,
        "diabetic_retinopathy": 5,
    },
    "structured": {
        "clevr_count": 8,
        "clevr_dist": 6,
        "dmlab": 6,
        "kitti": 4,
        "dsprites_loc": 16,
        "dsprites_ori": 16,
        "smallnorb_azi": 18,
        "smallnorb_ele": 9,
    },
}

VTAB1K = Suite(
    name="vtab1k",
    title="VTAB-1K",
    groups={
        group: tuple(
            Task(name=name, dataset=f"vtab/{name}", num_classes=classes, folders=(name,))
            for name, classes in tasks.items()
        )
        for group, tasks in _CLASSES.items()
    },
    needs_lists=True,
    train_images=1000,
)


def run() -> None:
    """Run losa-vtab1k as a command."""
    run_suite(VTAB1K)
