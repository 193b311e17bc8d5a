import base64
import io
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from losa.extract.sources.base import hash_source
from losa.extract.sources.digits import DigitsSource
from losa.pipelines.report.thumbnails import ImageFolder, Thumbnails


def test_an_image_is_found_by_its_key_and_its_hash(tmp_path: Path, paint_photo: Callable[..., Path]) -> None:
    for number, folder in enumerate("ab"):
        paint_photo(tmp_path / folder / "dogs/1.png", seed=number)
    thumbnails = Thumbnails(
        [ImageFolder(tmp_path / "nowhere"), *(ImageFolder(tmp_path / name) for name in "ab")]
    )
    second = hash_source((tmp_path / "b/dogs/1.png").read_bytes())
    found = thumbnails.find("dogs/1.png", second)
    assert found is not None
    head, _, data = found.partition(",")
    assert head == "data:image/jpeg;base64"
    picture = Image.open(io.BytesIO(base64.b64decode(data)))
    assert picture.format == "JPEG"
    assert max(picture.size) <= 128
    assert Thumbnails(thumbnails.sources[:2]).find("dogs/1.png", second) is None
    assert thumbnails.find("dogs/2.png", second) is None


def test_a_file_that_is_no_image_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_text("<script>")
    assert Thumbnails([ImageFolder(tmp_path)]).find("1.png", hash_source(b"<script>")) is None


def test_digits_are_found_and_others_of_such_names_are_not() -> None:
    digits = DigitsSource()
    some = hash_source(digits.read("digit/0007"))
    assert Thumbnails([digits]).find("digit/0007", some) is not None
    for key in ("digit/0008", "digit/5000", "digit/seven.png"):
        assert Thumbnails([digits]).find(key, some) is None
