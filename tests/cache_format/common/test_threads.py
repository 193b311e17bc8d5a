import pytest

from losa.cache_format.common import threads
from losa.cache_format.common.threads import thread_count

MANY = 300.0


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "usable_cores", lambda: 8)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)


def test_a_number_is_taken() -> None:
    assert thread_count(3, 64, 1, lambda: 0.0) == 3


@pytest.mark.parametrize(
    ("current", "worth", "idle", "expected"),
    [
        pytest.param(64, MANY, 64.0, 8, id="a container on a large machine"),
        pytest.param(2, MANY, 64.0, 2, id="torch's own choice is not exceeded"),
        pytest.param(64, 0.01, 64.0, 1, id="little work"),
        pytest.param(64, 3.9, 64.0, 3, id="work for some"),
        pytest.param(64, MANY, 2.9, 3, id="a busy machine"),
        pytest.param(64, MANY, 0.0, 1, id="an overloaded machine"),
    ],
)
def test_auto_suits_the_work_and_what_is_free(current: int, worth: float, idle: float, expected: int) -> None:
    assert thread_count("auto", current, worth, lambda: idle) == expected


def test_work_without_a_known_end_takes_all_cores() -> None:
    """As an extraction does, for which other processes do not count either."""
    assert thread_count("auto", 64) == 8
    assert thread_count("auto", 2) == 2


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "MKL_NUM_THREADS"])
def test_a_choice_in_the_environment_stays(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "16")
    assert thread_count("auto", 16, 1, lambda: 0.0) == 16


def test_a_single_thread_asks_nobody() -> None:
    def find_idle() -> float:
        raise AssertionError

    assert thread_count("auto", 1, MANY, find_idle) == 1
