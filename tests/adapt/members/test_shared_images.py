from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from losa.adapt import Job
from losa.adapt.members.preparation import JobPreparer
from losa.adapt.members.shared_images import refuse_choice_on_scored_images
from losa.cache_format import Cache, LosaError

pytestmark = pytest.mark.usefixtures("shapes_are_not_checked")


@pytest.fixture
def cache_with_copies(toy_cache: Any, tmp_path: Path) -> str:
    """A cache with two test images and one of val that are copies of training images, and one of both."""

    @dataclass(frozen=True)
    class Copied(type(toy_cache)):  # type: ignore[misc]
        copies: dict[str, str] = field(
            default_factory=lambda: {
                "test/000.png": "train/003.png",
                "test/001.png": "train/004.png",
                "val/000.png": "train/005.png",
                "val/001.png": "test/005.png",
            }
        )

        def source_hash(self, key: str) -> bytes:
            found: bytes = super().source_hash(self.copies.get(key, key))
            return found

    return str(Copied().write(tmp_path / "copies"))


@pytest.fixture
def prepare(member: Any, tmp_path: Path) -> Any:
    """``prepare(options, ...)``: members with these options, by one preparer."""

    def prepared(*options: dict[str, Any]) -> None:
        preparer = JobPreparer()
        for each in options:
            config = member(**each)
            preparer.prepare(Job(config, tmp_path / config.member_name))

    return prepared


def test_copies_under_other_names_are_told_once(
    prepare: Any, cache_with_copies: str, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"cache": cache_with_copies, "eval_split": ["val", "test"]}
    prepare(options, options | {"seed": 1})
    assert caplog.messages == [
        "1 of 9 images of val are byte for byte images of train under other names, and so trained on",
        "2 of 12 images of test are byte for byte images of train under other names, and so trained on",
    ]


def test_images_that_are_no_copies_are_not_told(prepare: Any, caplog: pytest.LogCaptureFixture) -> None:
    prepare({"eval_split": ["val", "test"], "val_split": "val"})
    assert not caplog.messages


def test_images_that_cannot_be_decoded_are_no_copies_of_each_other(
    prepare: Any, toy_cache: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = frozenset({"train/004.png", "val/001.png", "test/002.png"})
    cache = type(toy_cache)(invalid=broken).write(tmp_path / "broken")
    prepare({"cache": str(cache), "val_split": "val", "patience": 1})
    assert not caplog.messages


@pytest.mark.parametrize("option", [{"patience": 1}, {"halve_at": [1]}], ids=str)
def test_what_is_chosen_on_scored_images_is_told(
    option: dict[str, Any], prepare: Any, cache_with_copies: str, caplog: pytest.LogCaptureFixture
) -> None:
    prepare({"val_split": "test"} | option)
    prepare({"val_split": "test", "select_split": "test"} | option)
    prepare({"cache": cache_with_copies, "val_split": "val", "eval_split": "test"} | option)
    told = [message for message in caplog.messages if "val_split" in message]
    assert [message.split(":")[0] for message in told] == [
        "12 of 12 images of test are in val_split=test",
        "1 of 12 images of test are in val_split=val",
    ]


class TestSelection:
    def test_shared_images_are_refused(self, member: Any, toy_cache: Any, tmp_path: Path) -> None:
        class Overlapping(type(toy_cache)):  # type: ignore[misc]
            def contents(self, name: str) -> Any:
                found = super().contents(name)
                keys = ["test/000.png", *found.keys[1:]] if name == "val" else found.keys
                return type(found)(name=name, keys=keys, labels=found.labels)

        cache = str(Overlapping().write(tmp_path / "overlapping"))
        for options in (
            {"select_split": "val"},
            {"select_split": "train", "val_split": "val", "patience": 1},
            {"select_split": "train", "select_train_split": ["train", "val"]},
        ):
            config = member(**{"cache": cache, "protocol": "select", "select_train_split": "train"} | options)
            with pytest.raises(LosaError, match=r"1 of 9 images of \w+=val are also in eval_split=test"):
                refuse_choice_on_scored_images(Cache(cache), config)
        fine = member(cache=cache, protocol="select", select_train_split="train", select_split="train")
        refuse_choice_on_scored_images(Cache(cache), fine)

    def test_copies_are_told(
        self, member: Any, cache_with_copies: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        splits = {"select_train_split": "train", "select_split": "val"}
        config = member(cache=cache_with_copies, protocol="select", **splits)
        refuse_choice_on_scored_images(Cache(cache_with_copies), config)
        assert caplog.messages == [
            f"{found}, on which the choice depends, are byte for byte images of test under other names"
            for found in ("1 of 9 images of val", "2 of 24 images of train")
        ]
