"""Parameter counts of side networks for a ViT-B/16, against those of the docstrings and the papers."""

from typing import Any

import pytest

from losa.adapt import AdaptConfig, FeatureSpec, make_side_network
from losa.adapt.architecture import Architecture
from losa.adapt.side_networks import SIDE_NETWORKS
from losa.cache_format.identity import TokenLayout

KINDS = tuple(SIDE_NETWORKS)
TOKENS = TokenLayout(cls=1, registers=0, grid=(14, 14))


def architecture(**options: Any) -> Architecture:
    return AdaptConfig(
        **({"cache": "unused", "rank": 4, "heads": 2, "probe_share": 0.0} | options)
    ).architecture_for(TOKENS)


def vit_b16(sites: int) -> FeatureSpec:
    names = ("embed", *(f"block.{index:02d}" for index in range(12)))
    return FeatureSpec(sites=names[-sites:], tokens=TOKENS, width=768)


def body(sites: int, seeds: tuple[int, ...] = (0,), **options: Any) -> int:
    """Parameters of one member without its head."""
    network = make_side_network(architecture(**options), vit_b16(sites), 100, seeds)
    return network.parameter_count() - network.head_parameter_count()


@pytest.mark.parametrize("side", KINDS)
def test_parameters_of_the_head(side: str) -> None:
    network = make_side_network(architecture(side=side), vit_b16(2), 100, (0, 1))
    inputs = network.architecture.rank if side == "mlp" else 768
    assert network.head_parameter_count() == inputs * 100 + 100
    if "probe_share" in SIDE_NETWORKS[side].options:
        network = make_side_network(architecture(side=side, probe_share=0.5), vit_b16(2), 100, (0, 1))
        assert network.head_parameter_count() == 2 * (768 * 100 + 100)


@pytest.mark.parametrize(("rank", "millions"), [(4, 0.093), (8, 0.185), (16, 0.371), (32, 0.741)])
def test_parameters_of_losa(rank: int, millions: float) -> None:
    found = body(12, side="losa", rank=rank)
    assert found == 12 * (2 * 768 * rank + 2 * 197 * rank)
    assert round(found / 1e6, 3) == millions


def test_parameters_of_losa_with_biases() -> None:
    plain, biased = (body(12, side="losa", rank=8, bias=bias) for bias in (False, True))
    assert biased - plain == 12 * (8 + 768 + 8 + 197)


def test_parameters_of_last() -> None:
    assert body(13, side="last", rank=16, heads=4) == 658_944


def test_parameters_of_relay() -> None:
    assert body(12, side="relay", rank=8) == 12 * (3 * 768 * 8 + 8)


def test_parameters_of_lst() -> None:
    downs, up, norm = 13 * 768 * 96, 96 * 768, 2 * 96
    block = 4 * 96**2 + 2 * 96 * 384 + 2 * norm + 1
    assert body(13, side="lst", rank=96) == downs + 12 * block + norm + up == 2_364_108


def test_parameters_of_the_probes() -> None:
    assert body(1, side="linear") == 0
    assert body(1, side="mlp", rank=16) == 768 * 16 + 16
    assert body(1, side="attentive", heads=12) == 768 * 12


@pytest.mark.parametrize("side", KINDS)
def test_parameters_are_counted_for_one_member(side: str) -> None:
    assert body(2, (0, 1, 2), side=side) == body(2, side=side)
