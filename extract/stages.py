"""Where an extraction spends its time, and which stage limits it."""

import time
from typing import Literal

Stage = Literal["decoding", "backbone", "disk"]


class StageClock:
    """Adds up how long the main process has waited for each stage."""

    def __init__(self) -> None:
        self.seconds: dict[Stage, float] = {}
        self.restart()

    def restart(self) -> None:
        """Forget all laps."""
        self.seconds = {"decoding": 0.0, "backbone": 0.0, "disk": 0.0}
        self._since = time.perf_counter()

    def lap(self, stage: Stage) -> None:
        """Count the time since the last lap, or since the start, as waiting for a stage."""
        now = time.perf_counter()
        self.seconds[stage] += now - self._since
        self._since = now

    @property
    def bottleneck(self) -> Stage:
        """The stage that was waited for longest."""
        return max(self.seconds, key=lambda stage: self.seconds[stage])

    @property
    def total(self) -> float:
        """Seconds of all laps."""
        return sum(self.seconds.values())
