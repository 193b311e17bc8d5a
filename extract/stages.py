"""Where an extraction spends its time, and which stage limits it."""

import time
from collections.abc import Mapping
from typing import Literal

Stage = Literal["decoding", "backbone", "disk"]


class StageClock:
    """Adds up how long each stage was waited for."""

    def __init__(self) -> None:
        self.seconds: dict[Stage, float] = {"decoding": 0.0, "backbone": 0.0, "disk": 0.0}
        self.resume()

    def resume(self) -> None:
        """Go on from now: what happened since the last lap is counted elsewhere."""
        self._since = time.perf_counter()

    def lap(self, stage: Stage) -> None:
        """Count the time since the last lap, or since the start, as waiting for a stage."""
        now = time.perf_counter()
        self.seconds[stage] += now - self._since
        self._since = now

    def take(self) -> dict[Stage, float]:
        """The seconds since they were last taken, for a clock elsewhere."""
        taken, self.seconds = self.seconds, dict.fromkeys(self.seconds, 0.0)
        return taken

    def add(self, taken: Mapping[Stage, float]) -> None:
        """Count what another clock has counted, and go on from now."""
        for stage, seconds in taken.items():
            self.seconds[stage] += seconds
        self.resume()

    @property
    def total(self) -> float:
        """Seconds of all stages."""
        return sum(self.seconds.values())

    @property
    def bottleneck(self) -> Stage:
        """The stage that was waited for longest."""
        return max(self.seconds, key=lambda stage: self.seconds[stage])
