"""The splits that an extraction was asked for: of the source, cut, limited, as clips and in views."""

from collections.abc import Mapping

from losa.cache_format import LosaError, SplitContents
from losa.cache_format.clips import clips_split, parse_clips_split
from losa.cache_format.views import View, parse_views_split, views_split
from losa.extract.clips import with_clips
from losa.extract.config import ExtractConfig
from losa.extract.limit import limited
from losa.extract.sources import ImageSource
from losa.extract.splitting import cut
from losa.extract.views import refuse_keys_of_views, with_views


def requested_splits(config: ExtractConfig, source: ImageSource) -> list[SplitContents]:
    """The splits that the options name, and with ``views`` beside each of them that of its views.

    Args:
        config: the options.
        source: the images.

    Raises:
        LosaError: there is no such split, or it cannot be cut, or it holds no videos to take clips of.
    """
    parts: dict[str, SplitContents] = {}
    if config.split is not None:
        cuttings = cut(source, config.split_of, config.split, config.split_seed)
        parts = {part.name: part for part in cuttings}
    names = list(config.splits or parts or source.splits)
    names = [clips_split(name, config.clips, config.crops) for name in names]
    if config.views > 1:
        names += [views_split(name, config.views) for name in names]
    return [_contents(config, source, parts, name) for name in names]


def _contents(
    config: ExtractConfig, source: ImageSource, parts: Mapping[str, SplitContents], name: str
) -> SplitContents:
    """A split of the source, or a part of its only one, or a split with the views of its images."""
    known = tuple(parts) or source.splits
    of_clips, views = (name, 1) if name in known else parse_views_split(name)
    split, clips, crops = (of_clips, 1, 1) if of_clips in known else parse_clips_split(of_clips)
    if split not in known:
        raise LosaError(
            f"the data set has no split {split!r}; it has: {', '.join(known)}. "
            f"Choose with splits, as in splits=[{known[0]}]"
        )
    contents = parts[split] if parts else source.contents(split)
    refuse_keys_of_views(contents)
    if clips * crops > 1 and config.sampling is None:
        raise LosaError(f"split {name!r}: dataset={config.dataset.name} holds no videos to take clips of")
    if config.limit is not None:
        contents = limited(contents, config.limit)
    contents = with_clips(contents, clips, crops)
    if views == 1:
        return contents
    kinds = [View(number, config.view_crop, config.view_flip) for number in range(1, views)]
    return with_views(contents, kinds)
