"""TensorBoard, W&B and MLflow, told of a sweep as one run with its members as series."""

from losa.adapt.config import TrackerName
from losa.cache_format import LosaError
from losa.pipelines.trackers.base import Tracker
from losa.pipelines.trackers.mlflow_tracker import MlflowTracker
from losa.pipelines.trackers.tensorboard_tracker import TensorBoardTracker
from losa.pipelines.trackers.wandb_tracker import WandbTracker

__all__ = ["Tracker", "make_tracker"]

_TRACKERS: dict[TrackerName, type[Tracker]] = {
    "tensorboard": TensorBoardTracker,
    "wandb": WandbTracker,
    "mlflow": MlflowTracker,
}


def make_tracker(name: TrackerName) -> Tracker:
    """The tracker with the given name; it writes and sends nothing yet.

    Raises:
        LosaError: its package cannot be imported.
    """
    try:
        return _TRACKERS[name]()
    except ImportError as error:
        raise LosaError(
            f"tracker={name} needs {name}, which cannot be imported ({error}): pip install 'losa[{name}]'"
        ) from None
