import time

from losa.extract.stages import StageClock


def test_laps_add_up_and_the_longest_is_the_bottleneck(monkeypatch):
    times = iter([0.0, 1.0, 5.0, 6.0, 12.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(times))
    clock = StageClock()
    clock.lap("decoding")
    clock.lap("backbone")
    assert clock.bottleneck == "backbone"
    clock.lap("decoding")
    clock.lap("disk")
    assert clock.seconds == {"decoding": 2.0, "backbone": 4.0, "disk": 6.0}
    assert clock.bottleneck == "disk"
    assert clock.total == 12.0


def test_a_clock_goes_on_from_what_another_has_counted(monkeypatch):
    times = iter([0.0, 0.0, 4.0, 9.0, 10.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(times))
    here, elsewhere = StageClock(), StageClock()
    elsewhere.lap("decoding")
    taken = elsewhere.take()
    assert set(elsewhere.seconds.values()) == {0.0}
    here.add(taken)
    here.lap("disk")
    assert here.seconds == {"decoding": 4.0, "backbone": 0.0, "disk": 1.0}
