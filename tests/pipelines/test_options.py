"""What options take, and what is said of those that do not exist."""

import pytest

from losa.adapt import AdaptConfig
from losa.extract import ExtractConfig
from losa.pipelines.options import Option, options_of, unknown_option

KNOWN = [*options_of(ExtractConfig), "optimizer", "lr"]


@pytest.mark.parametrize(
    ("schema", "name", "option"),
    [
        (AdaptConfig, "cache", Option(text=True, list=False, mapping=False, null=False)),
        (AdaptConfig, "val_split", Option(text=True, list=False, mapping=False, null=True)),
        (AdaptConfig, "train_split", Option(text=True, list=True, mapping=False, null=False)),
        (AdaptConfig, "sites", Option(text=False, list=True, mapping=False, null=False)),
        (AdaptConfig, "halve_at", Option(text=False, list=True, mapping=False, null=False)),
        (AdaptConfig, "lr", Option(text=False, list=False, mapping=False, null=False)),
        (ExtractConfig, "splits", Option(text=True, list=True, mapping=False, null=True)),
        (ExtractConfig, "limit", Option(text=False, list=False, mapping=False, null=True)),
        (ExtractConfig, "dataset", Option(text=False, list=False, mapping=False, null=False)),
        (ExtractConfig, "dataset.shards", Option(text=True, list=True, mapping=True, null=True)),
        (ExtractConfig, "backbone.checkpoint", Option(text=True, list=False, mapping=False, null=True)),
    ],
)
def test_what_an_option_takes(schema: type, name: str, option: Option) -> None:
    assert options_of(schema)[name] == option


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("codek", "did you mean 'codec'?"),
        ("dataset.rooot", "did you mean 'dataset.root'?"),
        ("datset.root", "did you mean 'dataset.root'?"),
        ("bacbkone.name", "did you mean 'backbone.name'?"),
        ("checkpoint", "did you mean 'backbone.checkpoint'?"),
        ("dataset/vtab", "did you mean 'dataset'?"),
        ("optimizer.lr", "did you mean 'lr'?"),
        ("backbone.x", "backbone has: name, pretrained, checkpoint, seed, img_size, args"),
        ("zzz", "--help lists them"),
    ],
)
def test_an_unknown_option_is_answered_with_a_known_one(name: str, answer: str) -> None:
    assert unknown_option(name, KNOWN) == f"there is no option {name!r}; {answer}"
