"""A side network is one class and one entry of `SIDE_NETWORKS`; everything else follows from them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from omegaconf import OmegaConf
from pydantic import TypeAdapter, ValidationError

from losa.adapt import AdaptConfig, FeatureSpec, Job, adapt_all, load_side_network
from losa.adapt.architecture import Architecture
from losa.adapt.side_networks import SIDE_NETWORKS, SideKind, SideNetwork, effective_options, idle_options
from losa.adapt.side_networks.base import Drop
from losa.adapt.side_networks.parameters import Weights, member_constant, member_normal
from losa.adapt.streams import Stream, StreamSites
from losa.cache_format import LosaError
from losa.cache_format.identity import TokenLayout
from losa.pipelines.command_line import to_config


class Toy(SideNetwork):
    """Adds a linear map of low rank to the last site."""

    options: ClassVar[tuple[str, ...]] = ("rank", "pool")

    def __init__(
        self, architecture: Architecture, features: FeatureSpec, num_classes: int, seeds: Sequence[int]
    ) -> None:
        super().__init__(architecture, features, num_classes, seeds)
        shape = (1, architecture.rank, features.width)
        self.down = member_normal(seeds, "down", shape, features.width**-0.5)
        self.up = member_constant(seeds, shape, 0.0)

    def stream_sites(self) -> StreamSites:
        last = len(self.features.sites) - 1
        return StreamSites(layers=((last,),), output=last)

    def step(self, stream: Stream, layer: int, weights: Weights, drop: Drop) -> None:
        stream.update(drop(stream.project(weights["down"]), "toy"), weights["up"])


@pytest.fixture
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SIDE_NETWORKS, "toy", Toy)


@pytest.mark.usefixtures("_toy")
class TestToy:
    def test_trains_beside_other_kinds_and_is_read_again(self, member: Any, tmp_path: Path) -> None:
        configs = [member(side=side, epochs=4, lr=0.05) for side in ("toy", "linear")]
        jobs = [Job(config, tmp_path / config.member_name) for config in configs]
        adapt_all(jobs)
        network = load_side_network(jobs[0].folder).network
        assert isinstance(network, Toy)
        assert network.up.abs().sum() > 0
        rank, width = network.architecture.rank, network.features.width
        assert network.parameter_count() - network.head_parameter_count() == 2 * rank * width

    def test_only_its_own_options_change_the_member(self) -> None:
        plain, other = (AdaptConfig(cache="here", side="toy", rank=4), {"heads": 2, "norm": "none"})
        assert plain.member_name.startswith("toy-r4-lr0.003-seed0-")
        assert AdaptConfig(cache="here", side="toy", rank=4, **other).member_id == plain.member_id
        for option in ({"rank": 8}, {"pool": "mean"}):
            assert AdaptConfig(**{"cache": "here", "side": "toy", "rank": 4} | option).member_id != (
                plain.member_id
            )
        foreign = {"heads", "order", "norm", "bias", "start", "mixing", "probe_share"}
        assert idle_options("toy", probe_share=0.5) == foreign
        architecture = plain.architecture_for(TokenLayout(cls=1, registers=0, grid=(2, 2)))
        assert effective_options(architecture) == {"side": "toy", "rank": 4, "pool": "cls"}

    def test_is_among_the_expected_values_of_the_option(self) -> None:
        with pytest.raises(LosaError) as error:
            to_config(AdaptConfig, OmegaConf.create({"cache": "here", "side": "tyo"}))
        assert str(error.value) == (
            "side=tyo: expected one of losa, last, relay, lst, linear, mlp, attentive, toy; "
            "did you mean 'toy'?"
        )


def test_without_its_entry_there_is_no_toy() -> None:
    with pytest.raises(ValidationError, match="side"):
        AdaptConfig(cache="here", side="toy")


@pytest.mark.parametrize("side", ["losa ", "LoSA", "", None, 1, ["losa"]])
def test_other_values_are_refused_as_those_of_a_literal_are(side: object) -> None:
    with pytest.raises(ValidationError) as error:
        TypeAdapter(SideKind).validate_python(side)
    (problem,) = error.value.errors()
    assert problem["type"] == "literal_error"
    assert problem["msg"] == (
        "Input should be 'losa', 'last', 'relay', 'lst', 'linear', 'mlp' or 'attentive'"
    )


@pytest.mark.parametrize("side", SIDE_NETWORKS)
def test_options_are_fields_of_the_architecture(side: str) -> None:
    options = SIDE_NETWORKS[side].options
    assert len(set(options)) == len(options)
    assert set(options) < Architecture.options() - {"side"}


def test_the_configuration_file_names_every_kind() -> None:
    conf = Path(__file__).parents[3] / "conf/adapt.yaml"
    (comment,) = (line.split("#")[1] for line in conf.read_text().splitlines() if line.startswith("side:"))
    assert set(SIDE_NETWORKS) <= set(comment.replace(",", " ").split())
