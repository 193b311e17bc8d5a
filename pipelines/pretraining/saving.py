"""Writes a trained backbone as a folder for timm and losa-extract: ``backbone.name=local-dir:<folder>``."""

import json
from pathlib import Path

import torch
from safetensors.torch import save

from losa.cache_format.storage.atomic_writes import make_folder, publish_files
from losa.pipelines.pretraining.learner import ARCHITECTURE, ARGUMENTS, MEAN, SIDE, STD, Learner

TAG = "drawn_scenes"
"""Tag of the weights, as timm calls what they were trained on."""


def save_backbone(learner: Learner, folder: Path) -> None:
    """Write ``config.json`` and ``model.safetensors``, the weights in float16; the heads are left out."""
    weights = {
        name: tensor.to(torch.float16).contiguous() for name, tensor in learner.backbone.state_dict().items()
    }
    config = {
        "architecture": ARCHITECTURE,
        "num_classes": 0,
        "model_args": ARGUMENTS,
        "pretrained_cfg": {
            "tag": TAG,
            "input_size": [3, SIDE, SIDE],
            "fixed_input_size": True,
            "interpolation": "bicubic",
            "crop_pct": 1.0,
            "crop_mode": "center",
            "mean": [MEAN] * 3,
            "std": [STD] * 3,
            "num_classes": 0,
            "license": "apache-2.0",
        },
    }
    make_folder(folder)
    publish_files(
        folder,
        {"model.safetensors": save(weights), "config.json": (json.dumps(config, indent=2) + "\n").encode()},
    )
