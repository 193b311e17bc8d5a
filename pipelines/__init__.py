"""What needs both stages, and the commands."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from losa.pipelines.classifier.model import Classifier, load

__all__ = ["Classifier", "load"]


def __getattr__(name: str) -> Any:
    """Import what programs use when it is asked for: the help of the commands does not need torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from losa.pipelines.classifier import model

    return getattr(model, name)
