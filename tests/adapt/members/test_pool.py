"""What pool=auto stands for."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from losa.adapt.members.pool import tokens_of, with_pool
from losa.cache_format.identity import TokenLayout


@pytest.mark.parametrize(("cls", "pool"), [(1, "cls"), (0, "mean")])
def test_it_is_chosen_by_the_tokens(
    cls: int, pool: str, toy_cache: Any, make_config: Any, tmp_path: Path
) -> None:
    tokens = TokenLayout(cls=cls, registers=0, grid=(2, 2))
    config = make_config(cache=str(replace(toy_cache, tokens=tokens).write(tmp_path / "cache")))
    assert tokens_of(config.cache) == tokens
    assert with_pool(config) == replace(config, pool=pool)


@pytest.mark.parametrize("pool", ["cls", "mean"])
def test_a_pool_that_is_named_stays(pool: str, make_config: Any) -> None:
    config = make_config(cache="nowhere", pool=pool)
    assert with_pool(config) is config


def test_without_a_cache_nothing_is_chosen(make_config: Any, tmp_path: Path) -> None:
    config = make_config(cache=str(tmp_path))
    assert with_pool(config) is config
