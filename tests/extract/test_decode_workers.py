"""Nothing waits for ever: every way in which a decoding process can fail ends with advice."""

import errno
import os
import signal
import time
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pytest
import torch

from losa.cache_format import LosaError
from losa.extract import DatasetConfig, decode_workers, decoding, open_source
from losa.extract.loader import ImageLoader
from losa.extract.pixels import DEFAULT_DECODING

BATCHES = [["ant/0.png"], ["ant/2.png"], ["ant/4.png"], ["ant/6.png"]]


@pytest.fixture
def source(photos):
    return open_source(DatasetConfig(kind="folder", name="f", root=str(photos / "train")))


@pytest.fixture
def start(source):
    """``start(transform)``: decode four batches of one image in one process."""

    def start(transform):
        loader = ImageLoader(source, DEFAULT_DECODING)
        return decoding.decode(
            loader, transform, BATCHES, input_size=(3, 20, 16), workers=1, pin_memory=False
        )

    return start


def _transform(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float()


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (signal.SIGKILL, r"^a decoding process was killed \(SIGKILL\), most likely because memory is short"),
        (signal.SIGSEGV, r"^a decoding process was killed \(SIGSEGV\)"),
        (signal.SIGBUS, r"could not hand over its images: shared memory is full\. They go through"),
    ],
)
def test_a_killed_process_is_told_with_advice(start, number, expected):
    def killed(image):
        os.kill(os.getpid(), number)
        time.sleep(60)

    with pytest.raises(LosaError, match=expected) as caught, start(killed) as batches:
        list(batches)
    assert "workers=" in str(caught.value)
    assert "the same command" in str(caught.value)
    assert not active_children()


def test_news_of_a_killed_process_may_come_while_the_backbone_computes(start):
    """Torch raises it in a signal handler, wherever the main process is."""

    def compute():
        (worker,) = active_children()
        os.kill(worker.pid, signal.SIGKILL)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            time.sleep(0.01)

    with (
        pytest.raises(LosaError, match=r"^a decoding process was killed \(SIGKILL\)"),
        start(_transform) as batches,
    ):
        next(batches)
        compute()


def test_an_error_of_the_consumer_stays_what_it_is(start):
    with pytest.raises(RuntimeError, match="of the backbone"), start(_transform) as batches:
        next(batches)
        raise RuntimeError("of the backbone")
    assert not active_children()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EMFILE])
def test_a_batch_that_cannot_be_sent_ends_the_process(start, monkeypatch, code):
    """Multiprocessing would print a traceback, and nobody would ever send the batch."""

    def failing(*_):
        raise OSError(code, "as if")

    monkeypatch.setattr("multiprocessing.reduction.DupFd", failing)
    with pytest.raises(LosaError) as caught, start(_transform) as batches:
        list(batches)
    assert str(caught.value).startswith(
        f"a decoding process could not hand over its images: {os.strerror(code)}. They go through "
    )


def test_full_shared_memory_is_told_by_the_process_that_meets_it(start, monkeypatch):
    def full(images):
        raise RuntimeError(
            "unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)"
        )

    monkeypatch.setattr(decoding, "default_collate", full)
    with (
        pytest.raises(LosaError, match=r"hand over its images: No space left on device\."),
        start(_transform) as some,
    ):
        list(some)


@pytest.fixture
def impatient(monkeypatch):
    """Look at the processes several times a second, and give up after three looks."""
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.1)
    for module in (decode_workers, decoding):
        monkeypatch.setattr(module, "SECONDS_BETWEEN_CHECKS", 0.2)
    monkeypatch.setattr(decode_workers, "CHECKS_BEFORE_GIVING_UP", 3)


@pytest.mark.usefixtures("impatient")
def test_a_storage_that_does_not_answer_is_given_up(start, caplog):
    def stalled(image):
        time.sleep(1000)

    with (
        pytest.raises(LosaError, match=r"the storage of the images does not answer"),
        start(stalled) as batches,
    ):
        list(batches)
    for worker in active_children():
        worker.join(10)
    assert not active_children()
    assert "wait for the storage" in caplog.text


@pytest.mark.usefixtures("impatient")
@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="the kernel does not tell what processes do")
def test_a_slow_image_is_waited_for(start, caplog):
    def slow(image):
        end = time.process_time() + (1 if not caplog.records else 0)
        while time.process_time() < end:
            pass
        return _transform(image)

    with start(slow) as batches:
        assert len(next(batches).images) == 1
    assert "are still at work" in caplog.text


def test_processes_that_cannot_be_started_are_told(start, monkeypatch):
    def refused(*_):
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(decoding.DataLoader, "__iter__", refused)
    with pytest.raises(LosaError) as caught:
        start(_transform)
    assert str(caught.value) == (
        "the decoding processes cannot be started: Resource temporarily unavailable. Remove the cause, or "
        "decode in the main process with workers=0"
    )
