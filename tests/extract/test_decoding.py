import os
import pickle
import signal
import time
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pytest
import torch

from losa.cache_format import LosaError
from losa.cache_format.identity import Preprocessing
from losa.extract import DatasetConfig, open_source
from losa.extract.decoding import _Collate, _Decoding, decode
from losa.extract.loader import ImageLoader
from losa.extract.pixels import DEFAULT_DECODING
from losa.extract.preprocessing import make_transform

BATCHES = [["ant/0.png", "ant/2.png", "ant/4.png"], ["ant/6.png"], ["cat/1.png", "cat/3.png"]]


@pytest.fixture
def source(photos):
    return open_source(DatasetConfig(kind="folder", name="f", root=str(photos / "train")))


def _transform(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float()


def _decode(source, batches, workers=0, transform=_transform):
    options = {"input_size": (3, 20, 16), "workers": workers, "pin_memory": False}
    return list(decode(ImageLoader(source, DEFAULT_DECODING), transform, batches, **options))


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_come_in_order_and_uncut(source, workers):
    decoded = _decode(source, BATCHES, workers)
    assert [len(batch.images) for batch in decoded] == [3, 1, 2]
    loader = ImageLoader(source, DEFAULT_DECODING)
    for batch, keys in zip(decoded, BATCHES, strict=True):
        loaded = [loader.load(key) for key in keys]
        assert batch.outcomes == [image.source_hash for image in loaded]
        assert torch.equal(batch.images, torch.stack([_transform(one.image) for one in loaded]))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_invalid_image_leaves_the_others_in_place(source, photos, workers):
    (photos / "train/ant/2.png").write_bytes(b"no image")
    (photos / "train/ant/6.png").write_bytes(b"")
    three, none, two = _decode(source, BATCHES, workers)
    assert [type(outcome) for outcome in three.outcomes] == [bytes, str, bytes]
    # A reason goes into the cache, so it names the key but no folder of this machine.
    assert three.outcomes[1] == "ant/2.png: not an image in a format that Pillow knows"
    assert three.outcomes[2] == ImageLoader(source, DEFAULT_DECODING).load("ant/4.png").source_hash
    assert torch.equal(
        three.images[1], _transform(ImageLoader(source, DEFAULT_DECODING).load("ant/4.png").image)
    )
    assert none.images.shape == (0, 3, 20, 16)
    assert len(none.outcomes) == 1
    assert len(two.images) == 2


def test_no_batches_decode_to_none(source):
    assert _decode(source, []) == []


def test_an_error_of_ours_is_not_taken_for_an_invalid_image(source):
    def broken(image):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        _decode(source, BATCHES, transform=broken)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), MemoryError()])
def test_an_error_of_the_machine_arrives_in_its_own_words(source, photos, workers, monkeypatch, error):
    read = Path.read_bytes

    def failing(path):
        if path.name == "6.png":
            raise error
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", failing)
    batches = decode(
        ImageLoader(source, DEFAULT_DECODING),
        _transform,
        BATCHES,
        input_size=(3, 20, 16),
        workers=workers,
        pin_memory=False,
    )
    assert len(next(batches).images) == 3
    with pytest.raises(LosaError) as caught:
        next(batches)
    assert type(caught.value) is LosaError
    reason = "not enough memory" if isinstance(error, MemoryError) else "Permission denied"
    assert str(caught.value).startswith(f"{photos}/train/ant/6.png: {reason}. ")
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize("workers", [0, 2])
def test_too_little_memory_for_the_transform_names_the_image(source, workers):
    def hungry(image):
        raise MemoryError

    with pytest.raises(LosaError, match=r"^ant/0\.png: not enough memory\. "):
        _decode(source, BATCHES, workers, transform=hungry)


def _start(source, workers=2, transform=_transform, batches=BATCHES):
    options = {"input_size": (3, 20, 16), "workers": workers, "pin_memory": False}
    return decode(ImageLoader(source, DEFAULT_DECODING), transform, batches, **options)


def test_workers_start_with_the_call_and_end_with_close(source):
    """A fork after the first batch would meet the threads that the caller has started by then."""
    assert not active_children()
    for taken in (0, 1, 3):
        decoded = _start(source)
        assert len(active_children()) == 2
        for _ in range(taken):
            next(decoded)
        decoded.close()
        assert not active_children()


def test_workers_end_with_the_last_batch_and_with_an_error_that_is_kept(source, photos):
    decoded = _start(source)
    assert len(list(decoded)) == 3
    assert not active_children()
    (photos / "train/ant/0.png").unlink()
    (photos / "train/ant/0.png").mkdir()
    decoded = _start(source)
    with pytest.raises(LosaError, match="Is a directory") as kept:
        next(decoded)
    assert not active_children()
    assert kept.value


def test_workers_leave_sigterm_to_the_main_process(source):
    """Or torch would make a traceback of it, because a worker was killed."""
    decoded = _start(source)
    for _ in range(2):  # one of each worker, which have begun by then
        next(decoded)
    for worker in active_children():
        os.kill(worker.pid, signal.SIGTERM)
    assert len(list(decoded)) == 1
    assert not active_children()


def test_a_worker_that_waits_for_ever_is_ended_all_the_same(source, monkeypatch):
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.1)
    decoded = _start(source, workers=1, transform=lambda image: time.sleep(1000))
    (worker,) = active_children()
    time.sleep(0.3)  # it sleeps by now
    decoded.close()
    worker.join(5)
    assert worker.exitcode == -signal.SIGKILL


def test_there_are_no_more_workers_than_batches(source):
    decoded = _start(source, workers=2, batches=BATCHES[:1])
    assert len(active_children()) == 1
    decoded.close()


def test_what_workers_are_given_can_be_pickled(source):
    """As Python 3.14 does, which no longer forks."""
    transform = make_transform(
        Preprocessing(
            input_size=(3, 8, 8),
            interpolation="bicubic",
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            crop_pct=0.9,
            crop_mode="center",
        )
    )
    given = (_Decoding(ImageLoader(source, DEFAULT_DECODING), transform, ["ant/0.png"]), _Collate((3, 8, 8)))
    dataset, collate = pickle.loads(pickle.dumps(given))
    batch = collate([dataset[0]])
    assert batch.images.shape == (1, 3, 8, 8)
    assert torch.equal(batch.images[0], given[0][0].image)


class _Counting:
    """Counts what is loaded; only in this process."""

    splits = ("all",)
    columns = ()
    notes = ()

    def __init__(self, source):
        self.source = source
        self.loaded = []

    def contents(self, split):
        return self.source.contents(split)

    def read(self, key):
        self.loaded.append(key)
        return self.source.read(key)


def test_images_are_decoded_once_and_when_they_are_needed(source):
    counting = _Counting(source)
    loader = ImageLoader(counting, DEFAULT_DECODING)
    batches = decode(loader, _transform, BATCHES, input_size=(3, 20, 16), workers=0, pin_memory=False)
    assert counting.loaded == []
    for wanted in (3, 4, 6):
        next(batches)
        assert len(counting.loaded) == wanted
