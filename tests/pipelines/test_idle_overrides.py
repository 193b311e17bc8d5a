from typing import Any

import pytest

from losa.adapt import AdaptConfig
from losa.pipelines.idle_overrides import idle_overrides


def jobs(*options: dict[str, Any]) -> list[tuple[list[str], AdaptConfig]]:
    return [
        ([f"{name}={value}" for name, value in each.items()], AdaptConfig(**({"cache": "here"} | each)))
        for each in options
    ]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        pytest.param([{"side": "losa", "rank": 4}], [], id="an effect"),
        pytest.param([{"side": "linear", "heads": 7}], ["heads=7 has no effect on side=linear"], id="none"),
        pytest.param(
            [{"side": "linear", "rank": rank} for rank in (4, 8)],
            ["rank=4,8 has no effect on side=linear"],
            id="none in a sweep",
        ),
        pytest.param(
            [{"side": side, "rank": rank} for side in ("linear", "losa") for rank in (4, 8)],
            [],
            id="on one of several kinds",
        ),
        pytest.param(
            [{"side": "linear", "order": "token_channel"}, {"side": "last", "order": "token_channel"}],
            ["order=token_channel has no effect on side=linear or on side=last"],
            id="on none of several kinds",
        ),
        pytest.param(
            [{"momentum": 0.5}],
            ["momentum=0.5 has no effect with optimizer=adamw: it is for optimizer=sgd"],
            id="another option",
        ),
        pytest.param(
            [{"select_split": "val"}],
            ["select_split=val has no effect with protocol=direct: it is for protocol=select"],
            id="another protocol",
        ),
        pytest.param([{"optimizer": "sgd", "momentum": 0.5}], [], id="what is needed"),
        pytest.param([{"mixing": "joint"}], [], id="a cache that is not there"),
    ],
)
def test_options_that_no_job_reads(options: list[dict[str, Any]], told: list[str]) -> None:
    assert list(idle_overrides(jobs(*options))) == told


def test_forms_of_overrides() -> None:
    config = AdaptConfig(cache="here", side="linear")
    overrides = ["++heads=7", "~bias", "hydra/launcher=basic", "cache=here"]
    assert list(idle_overrides([(overrides, config)])) == ["heads=7 has no effect on side=linear"]
