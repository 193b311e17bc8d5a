from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from losa.extract import BackboneConfig, load_backbone
from losa.extract.live import LiveActivations
from losa.extract.pixels import decode_image
from losa.extract.preprocessing import make_transform
from losa.extract.sources import InvalidImage
from losa.extract.sources.image_files import ImageFiles


@pytest.fixture
def live(tmp_path: Path, paint: Any) -> Any:
    """``live(on_error)``: six files, two at a time; the third and fourth are no images."""
    backbone = load_backbone(BackboneConfig(name="test_vit", pretrained=False))
    files = [str(paint(tmp_path / f"{number}.png", number)) for number in range(6)]
    for number in (2, 3):
        Path(files[number]).write_text("no image")

    def make(on_error: str = "skip") -> LiveActivations:
        return LiveActivations(
            backbone,
            ImageFiles(),
            files,
            sites=["block.01", "block.05"],
            preprocessing=backbone.preprocessing,
            options=SimpleNamespace(dtype="float32", workers=0, max_pixels=100_000, on_error=on_error),
            device="cpu",
            batch_size=2,
        )

    return make


def test_activations_are_those_of_the_backbone(live: Any) -> None:
    stream = live()
    batches = list(stream)
    assert stream.sites == ("block.01", "block.05")
    keys = [key for batch in batches for key in batch.keys]
    assert [Path(key).name for key in keys] == ["0.png", "1.png", "4.png", "5.png"]
    backbone = load_backbone(BackboneConfig(name="test_vit", pretrained=False))
    transform = make_transform(backbone.preprocessing)
    images = [transform(decode_image(Path(key).read_bytes(), None, 100_000).image) for key in keys]
    expected = backbone.activations(torch.stack(images), stream.sites)
    torch.testing.assert_close(torch.cat([batch.activations for batch in batches]), expected)


def test_invalid_images_are_left_out_and_listed(live: Any) -> None:
    stream = live()
    assert len(stream) == 6
    assert all(batch.keys for batch in stream)  # not the batch of invalid images
    assert [line.partition(": ")[0].rpartition("/")[2] for line in stream.invalid] == ["2.png", "3.png"]


def test_an_invalid_image_is_refused(live: Any) -> None:
    with pytest.raises(InvalidImage, match=r"2\.png: not an image"):
        list(live("fail"))
