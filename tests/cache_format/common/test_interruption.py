import signal
import threading
from collections.abc import Iterator
from types import FrameType

import pytest

from losa.cache_format.common.interruption import uninterrupted


class EndedError(Exception):
    """What the handler of these tests raises."""


@pytest.fixture
def _handled() -> Iterator[None]:
    def end(number: int, frame: FrameType | None) -> None:
        raise EndedError

    before = signal.signal(signal.SIGTERM, end)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("_handled")
class TestUninterrupted:
    def test_outside_a_signal_ends_at_once(self) -> None:
        with pytest.raises(EndedError):
            signal.raise_signal(signal.SIGTERM)

    def test_inside_it_waits(self) -> None:
        done = []
        with pytest.raises(EndedError), uninterrupted():
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            with uninterrupted():
                done.append("inner")
            done.append("outer")
        assert done == ["inner", "outer"]

    def test_it_is_not_lost_behind_an_error(self) -> None:
        with pytest.raises(EndedError) as ended, uninterrupted():
            signal.raise_signal(signal.SIGTERM)
            raise ValueError
        assert isinstance(ended.value.__context__, ValueError)

    def test_nothing_waits_afterwards(self) -> None:
        with uninterrupted():
            pass
        with pytest.raises(EndedError):
            signal.raise_signal(signal.SIGTERM)

    def test_another_thread_defers_nothing(self) -> None:
        inside, leave = threading.Event(), threading.Event()

        def work() -> None:
            with uninterrupted():
                inside.set()
                leave.wait()

        thread = threading.Thread(target=work)
        thread.start()
        inside.wait()
        with pytest.raises(EndedError):
            signal.raise_signal(signal.SIGTERM)
        leave.set()
        thread.join()
