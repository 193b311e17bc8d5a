"""The model card of published side networks: what they are, how good they are, how to load them."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from losa.adapt import MemberSummary, TrainedSideNetwork
from losa.adapt.side_networks import effective_options
from losa.extract.backbone_names import HUB
from losa.pipelines.shown_options import shown

_CARD = """\
---
library_name: losa
pipeline_tag: image-classification
tags: [losa, side-network]
# license: yours to choose, such as apache-2.0
{base}---

# {title}

{what} for the frozen backbone {backbone}, trained with losa. The backbone is not in here: it is fetched
when {they} loaded, and compared by a hash of its weights, `{digest}`.

## Use

```python
from losa.pipelines import load

classifier = load({place})
print(classifier.predict(["photo.jpg"])[0])
```
{together}
## Side networks

| side network | options | trainable parameters | data set | accuracy |
|---|---|---|---|---|
{rows}
## Classes

{classes}"""


_TOGETHER = """
With `ensemble=True`, `load` averages their class probabilities; they need the same label columns and classes.
"""


def model_card(trained: Mapping[str, TrainedSideNetwork], sources: Mapping[str, Path], place: str) -> str:
    """The text of the card, in Markdown.

    Args:
        trained: the side networks, by name.
        sources: their folders, whose ``summary.json`` tells the accuracy, if there is one.
        place: what `losa.pipelines.load` is to be given.
    """
    backbone = next(iter(trained.values())).backbone
    model_on_hub = backbone.name.removeprefix(HUB) if backbone.name.startswith(HUB) else None
    return _CARD.format(
        base="" if model_on_hub is None else f"base_model: {json.dumps(model_on_hub)}\n",
        title=_plain(place.rstrip("/").rpartition("/")[2]),
        what="A side network" if len(trained) == 1 else f"{len(trained)} side networks",
        they="it is" if len(trained) == 1 else "they are",
        backbone=_plain(backbone.name),
        digest=backbone.weights_sha256,
        place=json.dumps(place, ensure_ascii=False),
        together="" if len(trained) == 1 else _TOGETHER,
        rows="".join(_row(name, each, sources[name]) for name, each in trained.items()),
        classes="\n".join(_classes(trained)),
    )


def _row(name: str, trained: TrainedSideNetwork, source: Path) -> str:
    summary = _summary(source)
    options = effective_options(trained.network.architecture)
    cells = [
        name,
        " ".join(f"{option}={shown(value)}" for option, value in options.items()),
        f"{trained.network.parameter_count():,}",
        "" if summary is None else str(summary.cache.get("dataset", "")),
        ""
        if summary is None
        else ", ".join(f"{100 * value:.1f} % on {split}" for split, value in summary.accuracy.items()),
    ]
    return f"| {' | '.join(map(_plain, cells))} |\n"


def _classes(trained: Mapping[str, TrainedSideNetwork]) -> Iterator[str]:
    """The classes of each label column, once for all side networks that have them."""
    for column in dict.fromkeys(column for each in trained.values() for column in each.columns):
        yield f"{_plain(column.name)}, {column.num_classes} classes:\n"
        # In JSON no name can end the block, whatever signs are in it.
        names = "without names" if column.classes is None else json.dumps(column.classes, ensure_ascii=False)
        yield f"```text\n{names}\n```\n"


def _summary(source: Path) -> MemberSummary | None:
    """The results of the training, if they lie beside the side network."""
    try:
        return MemberSummary.from_json(json.loads((source / "summary.json").read_bytes()))
    except (FileNotFoundError, ValueError):  # the card does without what is not there or is no summary
        return None


def _plain(text: str) -> str:
    r"""A text from data, on one line, in which no sign is markup.

    >>> print(_plain("a|b <i>"))
    a\|b \<i\>
    """
    return re.sub(r"([\\`*\[\]<>|&~#])", r"\\\1", " ".join(text.split()))
