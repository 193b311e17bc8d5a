from pathlib import Path
from typing import Any

import pytest

from losa.adapt import AdaptConfig
from losa.adapt.members.member_folder import member_folder


@pytest.mark.parametrize("place", [0, 1])
def test_what_an_earlier_version_trained_is_found(tmp_path: Path, place: int) -> None:
    config = AdaptConfig(cache="digits", dropout=0.0, weight_decay=1e-4)
    earlier = config.earlier_names[place]
    assert member_folder(tmp_path, config) == tmp_path / config.member_name
    (tmp_path / earlier).mkdir()
    assert member_folder(tmp_path, config) == tmp_path / earlier != tmp_path / config.member_name
    assert member_folder(tmp_path, AdaptConfig(cache="digits")).name != earlier


def test_earlier_names_tell_options_that_differ_from_the_defaults_of_then() -> None:
    options: dict[str, Any] = {"cache": "digits", "start": "last", "probe_share": 0.0}
    usual = AdaptConfig(**options, dropout=0.0, weight_decay=1e-4)
    assert usual.earlier_names[1] == f"losa-r8-lr0.003-seed0-digits-{usual.member_id}"
    told = AdaptConfig(**options, dropout=0.5, weight_decay=1e-4)
    assert told.earlier_names[1] == f"losa-r8-lr0.003-seed0-digits-dropout0.5-{told.member_id}"
    # When there were dropout and no probe, this was its name.
    assert told.earlier_names[2] == f"losa-r8-lr0.003-seed0-digits-weight_decay0.0001-{told.member_id}"
    mlp = AdaptConfig(cache="digits", side="mlp", dropout=0.0)
    assert mlp.earlier_names[2] == f"mlp-r64-lr0.003-seed0-digits-{mlp.member_id}"
    assert told.member_name == (
        f"losa-r8-lr0.003-seed0-digits-start_last-weight_decay0.0001-probe_share0-{told.member_id}"
    )


def test_lst_of_the_rank_and_dropout_of_then_is_found() -> None:
    then = AdaptConfig(cache="caches/digits", side="lst", rank=8, dropout=0.0)
    assert "lst-r8-lr0.003-seed0-digits-a7feca69cf" in then.earlier_names
    # It dropped other values: what was trained so is another member.
    dropped = AdaptConfig(cache="caches/digits", side="lst", rank=8, dropout=0.2)
    assert dropped.member_id != "2463520f0e"
