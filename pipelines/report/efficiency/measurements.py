"""Measurements in processes of their own. Finished ones are found again."""

import json
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from losa.adapt.free_memory import free_on
from losa.cache_format import Cache, CacheError, LosaError
from losa.cache_format.common.units import duration, readable
from losa.pipelines.bench.live.records import TrainingRecords
from losa.pipelines.report.efficiency.setting import Setting

COMMAND = (sys.executable, "-m", "losa.pipelines.report.efficiency.worker")
_UNESSENTIAL = ("seconds", "cache")
"""Fields of a setting that do not determine what is measured."""
_OF_TRAINING = ("rank", "targets", "batch", "micro_batch", "steps")
"""Fields that do not determine the extraction, either: it is the longest of all, and removes the cache."""
_LIMITS = 2
"""Time limits of a measurement that a process keeps to: of its training, and of its inference."""
START_SECONDS = 600
"""Time that a process may take beside them: to import modules, to load a backbone, to decode images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """The figures of a setting, or why there are none."""

    setting: Setting
    figures: Mapping[str, Any]
    """Those that its measuring function yields; empty without."""
    note: str | None = None
    """Why there are none."""
    failed: bool = False
    """Whether that is a failure. That memory is too small is an answer."""


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """The measurements of a table, and the records of those that are finished."""

    records: TrainingRecords
    around: Mapping[str, Any]
    """What determines figures beside a setting: the images, and the machine."""
    again: bool = False
    """Whether all are measured anew."""

    def measure(self, setting: Setting) -> Measurement:
        """Find a measurement, or make it.

        Raises:
            LosaError: a record is damaged.
        """
        label = f"{setting.kind}-{setting.method}{'-checkpointing' if setting.checkpointing else ''}"
        is_extraction = setting.kind == "extraction"
        left_out = {*_UNESSENTIAL, *(_OF_TRAINING if is_extraction else ())}
        content = {name: value for name, value in asdict(setting).items() if name not in left_out}
        determining = {"setting": content, **self.around}
        # The others need its cache, which may have been removed since then.
        again = self.again or (is_extraction and not _is_extracted(setting))
        found = None if again else self.records.find(label, determining)
        if found is None:
            measured = _ask(setting)
            if measured.note is None:
                self.records.keep(label, determining, measured.figures)
            return measured
        return Measurement(setting=setting, figures=found)


def _is_extracted(setting: Setting) -> bool:
    """Whether the cache has all images to train on."""
    try:
        Cache(setting.cache).split(setting.train_split)
    except CacheError:
        return False
    return True


def refuse_failures(measurements: Sequence[Measurement]) -> None:
    """Raise a LosaError if measurements failed; the others have their figures."""
    failed = [measurement for measurement in measurements if measurement.failed]
    if failed:
        first = failed[0]
        raise LosaError(
            f"{len(failed)} of {len(measurements)} measurements failed, the first of them "
            f"({first.setting.method}): {first.note}\nThe same command tries them again, and no others"
        )


def _ask(setting: Setting) -> Measurement:
    """Let a process measure.

    One that was killed is taken to have had too little memory: it asks the system to be killed first.
    """
    limit = START_SECONDS + _LIMITS * setting.seconds
    timeout = None if setting.kind == "extraction" else limit
    try:
        done = subprocess.run(
            [*COMMAND, json.dumps(asdict(setting))],
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired:
        note = f"stopped after {duration(limit)} (--seconds {setting.seconds:g})"
        return Measurement(setting=setting, figures={}, note=note, failed=True)
    answers: dict[str, Any] = {}
    for line in done.stdout.splitlines():
        answers |= json.loads(line)
    needed = answers.pop("needed_bytes", None)
    if not answers.get("fits", True) or done.returncode == -signal.SIGKILL:
        note = f"does not fit ({_memory(needed, setting.device)})"
        return Measurement(setting=setting, figures={}, note=note)
    if "error" in answers:
        return Measurement(setting=setting, figures={}, note=answers["error"], failed=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return Measurement(setting=setting, figures={}, note=last, failed=True)
    return Measurement(setting=setting, figures=answers)


def _memory(needed: int | None, device: str) -> str:
    return f"{readable(free_on(device))} are free" if needed is None else readable(needed)
