"""The process of one method, which waits between its passes."""

import contextlib
import json
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict
from types import TracebackType
from typing import Any

from losa.cache_format import LosaError
from losa.pipelines.bench.extraction.setting import Setting

COMMAND = (sys.executable, "-m", "losa.pipelines.bench.extraction.worker")
LAST_LINES = 20
"""Lines of what a process printed that are shown if it fails."""


class MethodProcess:
    """Asks a process of `losa.pipelines.bench.extraction.worker`. Use it as a context manager, which ends it.

    Attributes:
        note: why there are no figures; None while there is no reason.
        threads: threads of torch in the process; None with a note.
    """

    def __init__(self, setting: Setting) -> None:
        """Start the process and wait until the method is ready.

        Raises:
            LosaError: an option is wrong.
        """
        self.note: str | None = None
        self._printed = tempfile.TemporaryFile("w+")  # noqa: SIM115 -- closed on leaving
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(COMMAND, stdin=pipe, stdout=pipe, stderr=self._printed, text=True)
        try:
            ready = self._ask(asdict(setting))
        except BaseException:
            self.close()
            raise
        self.threads: int | None = None if ready is None else ready["threads"]

    def __enter__(self) -> "MethodProcess":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._printed.close()

    def measure(self, images: int) -> dict[str, Any] | None:
        """The figures of a pass, see `losa.pipelines.bench.extraction.worker.measure`; None with a `note`.

        Raises:
            LosaError: the method cannot go on, for a reason that the user can correct.
        """
        return None if self.note is not None else self._ask(images)

    def _ask(self, request: Any) -> dict[str, Any] | None:
        answer = self._answer(json.dumps(request))
        if "error" in answer:
            raise LosaError(answer["error"])
        self.note = answer.get("note")
        return answer if self.note is None else None

    def _answer(self, line: str) -> dict[str, Any]:
        with contextlib.suppress(BrokenPipeError):  # it has ended: there will be no answer
            print(line, file=self._process.stdin, flush=True)
        assert self._process.stdout is not None, "it is a pipe"
        answer = self._process.stdout.readline()
        if answer:
            found: dict[str, Any] = json.loads(answer)
            return found
        if self._process.wait() == -signal.SIGKILL:
            return {"note": "killed, most likely because memory is short"}
        self._printed.seek(0)
        printed = self._printed.read().splitlines()[-LAST_LINES:]
        raise RuntimeError("a method failed:\n" + "\n".join(printed))
