"""Member ids are names of folders on disk: an id that changes trains a finished member again."""

from typing import Any

import pytest

from losa.adapt import AdaptConfig

NAMES: list[tuple[dict[str, Any], str]] = [
    ({}, "losa-r8-lr0.003-seed0-28e4c5309b"),
    ({"seed": 1}, "losa-r8-lr0.003-seed1-e1e9896ba5"),
    ({"seed": -3, "data_seed": 7}, "losa-r8-lr0.003-seed-3-cca1c2d01a"),
    ({"rank": 16, "lr": 0.0001}, "losa-r16-lr0.0001-seed0-4683ad7cd7"),
    ({"heads": 2}, "losa-r8-lr0.003-seed0-28e4c5309b"),
    (
        {"order": "token_channel", "norm": "none", "bias": True, "start": "first", "pool": "mean"},
        "losa-r8-lr0.003-seed0-253d4c9b14",
    ),
    ({"side": "last"}, "last-r8-lr0.003-seed0-d588d90d59"),
    ({"side": "last", "rank": 16, "heads": 8, "norm": "layer"}, "last-r16-lr0.003-seed0-a63ba06d8c"),
    ({"side": "last", "order": "token_channel", "bias": True}, "last-r8-lr0.003-seed0-d588d90d59"),
    ({"side": "relay"}, "relay-r8-lr0.003-seed0-027e8715d2"),
    ({"side": "relay", "rank": 4, "pool": "mean", "heads": 2}, "relay-r4-lr0.003-seed0-2a05178754"),
    ({"side": "lst"}, "lst-r8-lr0.003-seed0-1b77337d74"),
    (
        {"side": "lst", "rank": 12, "heads": 3, "norm": "frozen", "start": "first"},
        "lst-r12-lr0.003-seed0-bc83edb0cb",
    ),
    ({"side": "linear"}, "linear-lr0.003-seed0-e53c80242d"),
    ({"side": "linear", "rank": 64, "norm": "none", "pool": "mean"}, "linear-lr0.003-seed0-bc80173ea3"),
    ({"side": "mlp", "rank": 8}, "mlp-r8-lr0.003-seed0-1c7c7c6075"),
    ({"side": "mlp", "rank": 128, "heads": 16}, "mlp-r128-lr0.003-seed0-c36daf9a21"),
    ({"side": "attentive"}, "attentive-lr0.003-seed0-aeffe40f6d"),
    (
        {"side": "attentive", "heads": 6, "rank": 2, "pool": "mean", "norm": "none"},
        "attentive-lr0.003-seed0-86a01fa14e",
    ),
    ({"optimizer": "sgd"}, "losa-r8-lr0.003-seed0-7baed2d4a0"),
    ({"optimizer": "sgd", "momentum": 0.5, "weight_decay": 0.0}, "losa-r8-lr0.003-seed0-2b3288c8f1"),
    ({"optimizer": "adamw", "momentum": 0.5}, "losa-r8-lr0.003-seed0-28e4c5309b"),
    ({"side": "linear", "optimizer": "sgd", "lr": 0.1, "warmup": 0.0}, "linear-lr0.1-seed0-d1f7c0833a"),
    ({"protocol": "select"}, "losa-r8-lr0.003-seed0-1b161b08cb"),
    (
        {"protocol": "select", "select_train_split": "train", "select_split": "val"},
        "losa-r8-lr0.003-seed0-cfef5e13fe",
    ),
    (
        {"protocol": "direct", "select_train_split": "train", "select_split": "val"},
        "losa-r8-lr0.003-seed0-28e4c5309b",
    ),
    ({"views": 4}, "losa-r8-lr0.003-seed0-d024cce978"),
    (
        {"views": 4, "side": "mlp", "rank": 8, "optimizer": "sgd", "protocol": "select"},
        "mlp-r8-lr0.003-seed0-e2cbe0e970",
    ),
    ({"val_split": "val200", "patience": 3, "halve_at": [5, 10]}, "losa-r8-lr0.003-seed0-cc1faa28e8"),
    (
        {"label": ["colour", "shape"], "class_weights": "balanced", "eval_split": ["val200", "test"]},
        "losa-r8-lr0.003-seed0-2721cebf85",
    ),
    (
        {"label": ["label"], "eval_split": ["test"], "cache": "./caches/../caches/digits/"},
        "losa-r8-lr0.003-seed0-28e4c5309b",
    ),
    ({"sites": 4}, "losa-r8-lr0.003-seed0-f759722fa4"),
    ({"sites": ["embed", 2, 11], "train_split": "train800"}, "losa-r8-lr0.003-seed0-611caf3b0c"),
    ({"pool": "auto"}, "losa-r8-lr0.003-seed0-28e4c5309b"),
    ({"pool": "cls"}, "losa-r8-lr0.003-seed0-28e4c5309b"),
    ({"train_split": ["train800val200"]}, "losa-r8-lr0.003-seed0-28e4c5309b"),
    ({"train_split": ["train800", "val200"]}, "losa-r8-lr0.003-seed0-ba27c61802"),
    ({"train_split": ["val200", "train800"]}, "losa-r8-lr0.003-seed0-7651a2e23c"),
    ({"protocol": "select", "select_train_split": ["train800"]}, "losa-r8-lr0.003-seed0-1b161b08cb"),
    ({"protocol": "select", "select_train_split": ["a", "b"]}, "losa-r8-lr0.003-seed0-6a64072f5c"),
    ({"stop_after": None}, "losa-r8-lr0.003-seed0-28e4c5309b"),
    (
        {
            "epochs": 100,
            "batch_size": 64,
            "dropout": 0.1,
            "label_smoothing": 0.1,
            "mixup": 0.2,
            "dtype": "bfloat16",
        },
        "losa-r8-lr0.003-seed0-af00bbe0af",
    ),
    (
        {
            "device": "cpu",
            "residency": "ram",
            "checkpoint_seconds": 0.0,
            "out": "elsewhere",
            "overwrite": True,
        },
        "losa-r8-lr0.003-seed0-28e4c5309b",
    ),
]
"""Options, and the name of the member. Names are never edited; new options get new lines."""
EARLIER_DEFAULTS: dict[str, Any] = {
    "cache": "caches/digits",
    "rank": 8,
    "dropout": 0.0,
    "weight_decay": 1e-4,
    "start": "last",
    "probe_share": 0.0,
}
"""The options that the first line has, where they are not the defaults any more."""


@pytest.mark.parametrize(("options", "name"), NAMES, ids=str)
def test_names_stay_the_same_in_later_versions(options: dict[str, Any], name: str) -> None:
    config = AdaptConfig(**(EARLIER_DEFAULTS | options))
    assert config.earlier_names[0] == name
    assert config.member_name.endswith(config.member_id)


def test_equal_members_have_equal_names() -> None:
    names: dict[str, set[str]] = {}
    for options, _ in NAMES:
        config = AdaptConfig(**(EARLIER_DEFAULTS | options))
        names.setdefault(config.member_id, set()).add(config.member_name)
    assert all(len(found) == 1 for found in names.values())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "losa-r8-lr0.003-seed0-digits-"),
        ({"dropout": 0.1, "data_seed": 3}, "losa-r8-lr0.003-seed0-digits-dropout0.1-data_seed3-"),
        ({"norm": "layer", "bias": True}, "losa-r8-lr0.003-seed0-digits-norm_layer-bias_true-"),
        ({"label": ["a b", "c/d"]}, "losa-r8-lr0.003-seed0-digits-label_a_b+c_d-"),
        ({"sites": 4}, "losa-r8-lr0.003-seed0-digits-sites4-"),
        ({"optimizer": "sgd"}, "losa-r8-lr0.003-seed0-digits-optimizer_sgd-"),
        (
            {"protocol": "select", "select_split": "v"},
            "losa-r8-lr0.003-seed0-digits-protocol_select-select_split_v-",
        ),
        ({"side": "linear", "heads": 2}, "linear-lr0.003-seed0-digits-"),
        ({"cache": "s3://bucket/pets", "views": 4}, "losa-r8-lr0.003-seed0-pets-views4-"),
        (
            {"train_split": ["a"] * 3, "eval_split": ["b"]},
            "losa-r8-lr0.003-seed0-digits-train_split_a-eval_split_b-",
        ),
    ],
    ids=str,
)
def test_a_name_tells_what_is_not_as_usual(options: dict[str, Any], told: str) -> None:
    config = AdaptConfig(**({"cache": "caches/digits"} | options))
    assert config.member_name == f"{told}{config.member_id}"


def test_a_name_is_not_longer_than_file_systems_allow() -> None:
    config = AdaptConfig(cache="caches/digits", dropout=0.1, label=["label" * 30], eval_split=["test" * 30])
    assert config.member_name == f"losa-r8-lr0.003-seed0-digits-{config.member_id}"
    assert len(AdaptConfig(cache="é" * 300).member_name) < 255
