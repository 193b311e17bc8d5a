"""Checks that a cache has the splits that a configuration names."""

from collections.abc import Sequence
from difflib import get_close_matches

from losa.adapt.config import AdaptConfig
from losa.cache_format import Cache, LosaError
from losa.cache_format.views import parse_views_split, views_split

_TO_TRAIN_ON = ("train_split", "select_train_split")


def refuse_missing_splits(cache: Cache, config: AdaptConfig) -> None:
    """Refuse a configuration that names splits which are not in the cache.

    Raises:
        LosaError: splits are missing. The message has a line for each, with the option that names it and the
            splits of the cache, or says how to add views.
    """
    known = [split.name for split in cache.manifest.splits]
    named = _named_splits(config)
    problems = [
        f"the cache has no split {name!r}; it has: {', '.join(known) or 'none'}. "
        f"Choose with {option}, as in {option}={_example(option, name, known)}"
        for option, names in named.items()
        for name in names
        if name not in known
    ]
    if problems:
        raise LosaError("\n".join(dict.fromkeys(problems)))
    if config.views > 1:
        trained = dict.fromkeys(name for option in _TO_TRAIN_ON for name in named.get(option, ()))
        missing = [name for name in trained if views_split(name, config.views) not in known]
        if missing:
            raise LosaError(
                f"views={config.views}: {cache.path} has no split {views_split(missing[0], config.views)!r}; "
                f"it has: {', '.join(known)}. The losa-extract command that made the cache, with "
                f"splits=[{','.join(missing)}] views={config.views}, adds what is missing"
            )


def _named_splits(config: AdaptConfig) -> dict[str, Sequence[str]]:
    """Option -> the splits that it names, for the options that have an effect."""
    named: dict[str, Sequence[str]] = {
        "train_split": config.train_splits,
        "eval_split": config.eval_splits,
    }
    if config.val_split is not None:
        named["val_split"] = [config.val_split]
    if config.protocol == "select":
        named["select_train_split"] = config.select_train_splits
        named["select_split"] = [config.select_split]
    return named


def _example(option: str, name: str, known: Sequence[str]) -> str:
    """A split of the cache that may be meant; the first ones are usually there to train on."""
    plain = [split for split in known if parse_views_split(split)[1] == 1] or ["..."]
    close = get_close_matches(name, plain, n=1)
    return (close or (plain[:1] if option in _TO_TRAIN_ON else plain[-1:]))[0]
