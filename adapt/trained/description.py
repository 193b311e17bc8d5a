"""The description of a trained side network: its shape, and the identity of the features that it reads."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from losa.adapt.architecture import Architecture
from losa.adapt.features import FeatureSpec
from losa.adapt.side_networks import SIDE_NETWORKS, SideNetwork, make_side_network
from losa.cache_format import LabelColumn, LosaError
from losa.cache_format.common.fields import STRICT, Name, Sha256, Size
from losa.cache_format.identity import BackboneIdentity, FinalNorm, Preprocessing, TokenLayout

NETWORK_VERSION: Literal[2] = 2
"""In version 2 thin matrices are stored as ``rank`` rows; in version 1 some were transposed."""
MOST_TOKENS = 2**24
"""More would be beyond the sizes that torch can compute with."""


def _refuse_unknown_side(architecture: Architecture) -> Architecture:
    if architecture.side not in SIDE_NETWORKS:
        raise ValueError(f"side {architecture.side!r}: expected one of {', '.join(SIDE_NETWORKS)}")
    return architecture


def _refuse_too_many_tokens(tokens: TokenLayout) -> TokenLayout:
    if tokens.count > MOST_TOKENS:
        raise ValueError(f"{tokens.count} tokens of an image: expected at most {MOST_TOKENS}")
    return tokens


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class SideNetworkDescription:
    """The fields of ``side_network.json``. Valid once constructed."""

    format: Literal["losa-side-network"] = "losa-side-network"
    version: Literal[2] = NETWORK_VERSION
    architecture: Annotated[Architecture, AfterValidator(_refuse_unknown_side)]
    sites: Annotated[tuple[str, ...], Field(min_length=1)]
    tokens: Annotated[TokenLayout, AfterValidator(_refuse_too_many_tokens)]
    width: Size
    final_norm: FinalNorm | None
    num_classes: Size
    """Number of class scores, over all label columns."""
    outputs: tuple[LabelColumn, ...]
    """Label columns, in the order of their class scores in the output."""
    features_sha256: Sha256
    backbone: BackboneIdentity
    preprocessing: Preprocessing
    tensors_sha256: Sha256
    """Hash of the tensors' file."""
    origin: dict[Name, str] = field(default_factory=dict)
    """Where the backbone's weights come from, as `FrozenBackbone.origin`; empty in early files."""

    def __post_init__(self) -> None:
        """Refuse label columns that do not have ``num_classes`` classes together."""
        together = sum(column.num_classes for column in self.outputs)
        if together != self.num_classes:
            raise ValueError(f"outputs have {together} classes together, num_classes is {self.num_classes}")

    @classmethod
    def from_json(cls, content: Mapping[str, Any], path: Path) -> "SideNetworkDescription":
        """Validate the content of a file.

        Args:
            content: the content.
            path: the file, for messages.

        Raises:
            LosaError: another version, or no valid description; every problem is listed.
        """
        version = content.get("version")
        if version != NETWORK_VERSION:
            newer = isinstance(version, int) and version > NETWORK_VERSION
            remedy = "install a newer one" if newer else "train it again"
            raise LosaError(
                f"{path}: version {version!r}; this losa reads version {NETWORK_VERSION}: {remedy}"
            )
        try:
            return TypeAdapter(cls).validate_json(json.dumps(content))
        except ValidationError as error:
            problems = [
                f"{'.'.join(map(str, problem['loc'])) or 'description'}: {problem['msg']} "
                f"(found {problem['input']!r:.80})"
                for problem in error.errors()
            ]
            raise LosaError(f"{path} is not a valid description: {'; '.join(problems)}") from None

    def make_network(self, constants: Mapping[str, np.ndarray], seeds: Sequence[int]) -> SideNetwork:
        """A freshly initialised network of this shape.

        Args:
            constants: as in `FeatureSpec`.
            seeds: seed of each member; a network without members has all shapes, but takes no memory.

        Raises:
            LosaError: the architecture does not fit the features.
            RuntimeError: sizes are beyond what a tensor can have.
        """
        features = FeatureSpec(
            sites=self.sites,
            tokens=self.tokens,
            width=self.width,
            final_norm=self.final_norm,
            constants=dict(constants),
        )
        return make_side_network(self.architecture, features, self.num_classes, seeds)
