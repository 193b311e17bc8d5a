"""Messages of the log on the console."""

import logging
from typing import TextIO

from tqdm import tqdm


class ConsoleHandler(logging.StreamHandler[TextIO]):
    """Writes each message on lines of its own, above the progress bars that a terminal shows."""

    def emit(self, record: logging.LogRecord) -> None:
        """Take the bars away, write the message, and show the bars again."""
        with tqdm.external_write_mode(file=self.stream):
            super().emit(record)
