"""Where tasks run: in this process, or on the workers of a Ray cluster."""

from collections.abc import Collection

from losa.cache_format.engines.config import EngineConfig
from losa.cache_format.engines.contract import Engine, Stopped, Task, Tell, Told
from losa.cache_format.engines.local_engine import LocalEngine

__all__ = ["Engine", "EngineConfig", "LocalEngine", "Stopped", "Task", "Tell", "Told", "make_engine"]


def make_engine(config: EngineConfig, devices: Collection[str]) -> Engine:
    """The engine that the options describe; nothing is started before it is entered.

    Args:
        config: the options.
        devices: the values of the option ``device`` of all tasks.

    Raises:
        LosaError: what the engine needs is not installed.
    """
    if config.kind == "local":
        return LocalEngine()
    from losa.cache_format.engines.ray_engine import RayEngine  # imported slowly, and seldom needed

    return RayEngine(config, devices)
