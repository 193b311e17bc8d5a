"""What side networks say of a video: the average over several clips and crops of it."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

import torch
from torch import Tensor

from losa.adapt.trained.scoring import ScoredBatch
from losa.adapt.trained.side_network import split_columns
from losa.cache_format import LabelColumn
from losa.cache_format.clips import parse_clip


def averaged(
    batches: Iterable[ScoredBatch], columns: Sequence[Sequence[LabelColumn]], clips: int
) -> Iterator[ScoredBatch]:
    """One row for each video, whose scores are the logarithm of its probabilities, averaged over its clips.

    A softmax of such scores gives the averaged probabilities back. A video of which not every clip is there,
    because one could not be decoded, is left out.

    Args:
        batches: class scores of clips, those of a video one after the other.
        columns: label columns of each side network; a softmax is taken over the classes of each.
        clips: number of clips of each video, all crops counted.
    """
    waiting: list[tuple[str, tuple[Tensor, ...]]] = []
    for keys, scores in batches:
        probabilities = [
            torch.cat([part.float().softmax(dim=-1) for part in split_columns(each, of_network)], dim=-1)
            for each, of_network in zip(scores, columns, strict=True)
        ]
        rows = zip(*probabilities, strict=True)
        waiting += [(parse_clip(key)[0], of_clip) for key, of_clip in zip(keys, rows, strict=True)]
        # The last video of a batch may have further clips in the next one.
        last = waiting[-1][0]
        whole = [row for row in waiting if row[0] != last]
        waiting = waiting[len(whole) :]
        if (batch := _averages(whole, clips)) is not None:
            yield batch
    if (batch := _averages(waiting, clips)) is not None:
        yield batch


def _averages(rows: Sequence[tuple[str, Sequence[Tensor]]], clips: int) -> ScoredBatch | None:
    keys = []
    found: list[list[Tensor]] = []
    for video, group in groupby(rows, key=lambda row: row[0]):
        of_clips = [probabilities for _, probabilities in group]
        if len(of_clips) == clips:
            keys.append(video)
            found.append([torch.stack(each).mean(dim=0).log() for each in zip(*of_clips, strict=True)])
    if not keys:
        return None
    return ScoredBatch(keys, tuple(torch.stack(each) for each in zip(*found, strict=True)))
