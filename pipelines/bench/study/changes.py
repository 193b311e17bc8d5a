"""The options that `losa-bench ablations` changes, their values, and what the papers say of them.

Marks, as in docs/methods.md: [S] a second-hand summary, [D] derived by arithmetic, [?] unknown to us.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

UNKNOWN = "[?]"
OURS = "in no paper"
_OWN = ("relay",)
"""Side networks of our own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """An option, and the values that take the place of its default in turn."""

    option: str
    """An option of `AdaptConfig`, or ``codec``, which is one of the cache."""
    values: Sequence[Any]
    papers: Mapping[str, str]
    """Side network -> what its paper says."""
    everywhere: str | None = None
    """What holds for every side network."""

    def said(self, side: str) -> str:
        """What the paper of a side network says of the option."""
        found = OURS if side in _OWN else self.papers.get(side, UNKNOWN)
        return found if self.everywhere is None else self.everywhere


CHANGES: Mapping[str, Change] = {
    change.option: change
    for change in (
        Change(
            option="rank",
            values=(2, 4, 8, 16, 32),
            papers={"losa": "4, 8 and 16 are named [S]", "last": "16, and even 4 [S]"},
        ),
        Change(
            option="sites",
            values=(1, 2, 3, 4, 6, 12),
            papers={
                "losa": "evenly spaced [S]; how many: [?]",
                "last": "one for each group of blocks [S]; the published size is that of the embedding and "
                "all 12 blocks [D]",
            },
        ),
        Change(
            option="start",
            values=("first", "last"),
            papers={"losa": "the last block is better than the backbone's input [S]"},
        ),
        Change(
            option="order",
            values=("channel_token", "token_channel"),
            papers={"losa": "both in turn [S]; which is first: [?]"},
        ),
        Change(option="norm", values=("frozen", "layer", "none"), papers={"last": "LayerNorm [S]"}),
        Change(option="pool", values=("cls", "mean"), papers={}),
        Change(option="bias", values=(False, True), papers={}),
        Change(option="probe_share", values=(0.0, 0.25, 0.5), papers={}, everywhere=OURS),
        Change(
            option="codec",
            values=("int8", "int4", "float32"),
            papers={},
            everywhere="[?], an option of the cache",
        ),
        Change(option="views", values=(1, 4), papers={}, everywhere="protocol of VTAB-1K: no augmentation"),
    )
}
