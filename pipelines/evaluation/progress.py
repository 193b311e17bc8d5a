"""The state of an unfinished evaluation, from which the same command goes on."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from losa.cache_format import LosaError
from losa.cache_format.storage.atomic_writes import make_folder, publish

NAME = "progress.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far an evaluation is."""

    images: int
    """Number of images done, from the first, invalid ones included."""
    invalid: Sequence[str]
    """Invalid images among them, a line for each."""
    state: dict[str, Tensor]
    """The counts."""

    def write(self, folder: Path, identity: str) -> None:
        """Replace the file in a folder.

        Args:
            folder: folder of the evaluation.
            identity: hash of what is judged on what.
        """
        record = {"identity": identity, "images": self.images, "invalid": list(self.invalid)}
        state = {name: value.cpu().contiguous() for name, value in self.state.items()}
        make_folder(folder)
        publish(folder / NAME, save(state, {"losa": json.dumps(record)}))

    @classmethod
    def read(cls, folder: Path, identity: str) -> "Progress | None":
        """The progress in a folder; None if there is none.

        Raises:
            LosaError: the file is damaged, or is of another evaluation.
        """
        path = folder / NAME
        if not path.exists():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                record = json.loads(file.metadata()["losa"])
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 -- not a mapping
            found, images, invalid = record["identity"], record["images"], record["invalid"]
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise LosaError(f"{path} is damaged ({error}); overwrite=true begins again") from None
        if found != identity:
            raise other_evaluation(folder)
        return cls(images=images, invalid=invalid, state=state)


def other_evaluation(folder: Path) -> LosaError:
    """The error for a folder that an evaluation of something else has begun or finished."""
    return LosaError(
        f"{folder} holds another evaluation, of other side networks, images or options: choose another "
        "folder (out=...), or overwrite=true"
    )
