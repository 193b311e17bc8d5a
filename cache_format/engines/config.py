"""The options of an engine. Each one is explained in conf/engine/."""

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from losa.cache_format.common.fields import STRICT


@dataclass(frozen=True, kw_only=True, config=STRICT)
class EngineConfig:
    """Where tasks run, and what each worker gets."""

    kind: Literal["local", "ray"] = "local"
    address: str | None = None
    workers: Annotated[int, Field(ge=1)] | None = None
    gpus: Annotated[float, Field(ge=0)] | None = None
    cpus: Annotated[int, Field(ge=1)] | None = None
