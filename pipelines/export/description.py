"""The description beside an exported model: what its inputs and outputs are, for programs without losa."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from losa.adapt import TrainedSideNetwork
from losa.adapt.side_networks import effective_options
from losa.cache_format.identity import Preprocessing
from losa.cache_format.manifest import as_json
from losa.pipelines.export.agreement import TOLERANCE, Agreement
from losa.pipelines.export.outputs import INPUT, Output

EXPORT_FORMAT = "losa-export"
VERSION = 1


def describe(
    trained: Mapping[str, TrainedSideNetwork], outputs: tuple[Output, ...], agreement: Agreement
) -> dict[str, Any]:
    """The description of a model, as a JSON value; docs/using.md explains the fields.

    Args:
        trained: the side networks in the model, by name.
        outputs: what its outputs are.
        agreement: how well the file agrees with the classifier.
    """
    first = next(iter(trained.values()))
    channels, height, width = first.preprocessing.input_size
    return {
        "format": EXPORT_FORMAT,
        "version": VERSION,
        "input": {
            "name": INPUT,
            "dtype": "float32",
            "shape": ["batch", channels, height, width],
            "channels": "RGB",
        },
        "preprocessing": preprocessing_steps(first.preprocessing),
        "outputs": [
            {
                "name": output.name,
                "side_network": output.side_network,
                "members": list(output.members),
                "column": output.column.name,
                "num_classes": output.column.num_classes,
                "classes": None if output.column.classes is None else list(output.column.classes),
            }
            for output in outputs
        ],
        "side_networks": {
            name: {
                "architecture": effective_options(each.network.architecture),
                "tensors_sha256": each.tensors_sha256,
            }
            for name, each in trained.items()
        },
        "backbone": as_json(first.backbone),
        "check": {"tolerance": TOLERANCE, **asdict(agreement)},
    }


def preprocessing_steps(preprocessing: Preprocessing) -> dict[str, Any]:
    """From an image file to the input, step by step, in numbers that need no knowledge of timm.

    The order is: turn, put on the background, resize, crop or fill up around the centre, divide by 255,
    subtract the mean, divide by the standard deviation.
    """
    _, height, width = preprocessing.input_size
    decoding = preprocessing.decoding
    high, wide = (math.floor(side / preprocessing.crop_pct) for side in (height, width))
    fill = [0] * 3
    if preprocessing.crop_mode == "squash":
        fit = "both_sides"
    elif preprocessing.crop_mode == "border":
        fit = "longer_side"
        fill = [round(255 * value) for value in preprocessing.mean]
    else:
        # timm resizes by torchvision to a square, which rounds down, and by its own code to other shapes.
        fit = "shorter_side" if high == wide else "cover"
    return {
        "exif": "ignore" if decoding is None else decoding.exif,
        "background": None if decoding is None else list(decoding.background),
        "resize": {"fit": fit, "height": high, "width": wide, "interpolation": preprocessing.interpolation},
        "crop": {"height": height, "width": width, "fill": fill},
        "divide_by": 255,
        "mean": list(preprocessing.mean),
        "std": list(preprocessing.std),
    }
