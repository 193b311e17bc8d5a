"""The folder of an evaluation: what an earlier run of the same command left there."""

from dataclasses import dataclass
from pathlib import Path

from losa.cache_format import LosaError
from losa.cache_format.storage.atomic_writes import remove
from losa.pipelines.evaluation import prediction_files, progress, results
from losa.pipelines.evaluation.progress import Progress
from losa.pipelines.evaluation.results import Results
from losa.pipelines.writable_output import refuse_unwritable_folder


@dataclass(frozen=True, slots=True)
class OutputFolder:
    """A folder that one evaluation may write to."""

    path: Path
    identity: str
    """Hash of what is judged on what."""

    def __post_init__(self) -> None:
        """Refuse a file.

        Raises:
            LosaError: it is no folder.
        """
        if self.path.exists() and not self.path.is_dir():
            raise LosaError(f"out={self.path}: expected a folder, found a file")

    def results(self) -> Results | None:
        """The results, if the evaluation is finished.

        Raises:
            LosaError: the files are damaged, of another evaluation, or of another command.
        """
        found = Results.read(self.path, self.identity)
        if found is None and not (self.path / progress.NAME).exists():
            self._refuse_others()
        return found

    def refuse_unwritable(self) -> None:
        """Refuse a folder in which nothing can be written, before anything is judged.

        Raises:
            LosaError: it cannot be written; the message has the reason of the system.
        """
        refuse_unwritable_folder("out=", self.path)

    def progress(self) -> Progress | None:
        """The progress of an unfinished evaluation; None if none has begun.

        Raises:
            LosaError: the file is damaged or of another evaluation.
        """
        return Progress.read(self.path, self.identity)

    def save(self, reached: Progress) -> None:
        """Replace the progress."""
        reached.write(self.path, self.identity)

    def finish(self) -> None:
        """Remove the progress, because the results are written."""
        remove(self.path / progress.NAME)

    def clear(self) -> None:
        """Remove the files of an evaluation, whichever it is.

        Raises:
            LosaError: the files are of another command.
        """
        if not any((self.path / name).exists() for name in (results.RESULTS, progress.NAME)):
            self._refuse_others()
        for name in (results.RESULTS, results.TABLE, results.CONFUSION, progress.NAME):
            remove(self.path / name)
        for part in prediction_files.parts_in(self.path):
            remove(part)

    def _refuse_others(self) -> None:
        """Refuse a folder with anything but predictions, which are written before the first progress."""
        own = {self.path / prediction_files.FOLDER, *prediction_files.parts_in(self.path)}
        other = next((path for path in self.path.rglob("*") if path not in own), None)
        if other is not None:
            raise LosaError(
                f"{self.path} has files that are not of an evaluation, such as {other.name}: choose another "
                "folder (out=...)"
            )
