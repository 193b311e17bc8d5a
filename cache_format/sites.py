"""Names of the sites of a backbone, and the rule that selects among them."""

from collections.abc import Iterable, Sequence
from typing import TypeGuard

from losa.cache_format.errors import LosaError

EMBED = "embed"
"""Site of the tokens that enter block 0: patch embedding, position embedding, prefix tokens."""
SUM = "sum:"
"""Beginning of the name of a site that is the sum of others; see `losa.cache_format.sums`."""

SiteSelection = int | str | Sequence["int | str"]
"""``n`` (evenly spaced blocks or stages), ``"all"`` (all but ``embed``), a name, or a list of these."""


def block_site(block: int) -> str:
    """Name of the site after a block: the residual stream leaving it, before the final norm.

    >>> block_site(5)
    'block.05'
    """
    return f"block.{block:02d}"


def stage_site(stage: int) -> str:
    """Name of the site at a stage of a backbone that has no plain list of blocks: the stage's feature map.

    >>> stage_site(3)
    'stage.03'
    """
    return f"stage.{stage:02d}"


def backbone_sites(depth: int) -> tuple[str, ...]:
    """All sites of a transformer with ``depth`` blocks, from input to output.

    >>> backbone_sites(2)
    ('embed', 'block.00', 'block.01')

    Args:
        depth: number of blocks.
    """
    return (EMBED, *(block_site(block) for block in range(depth)))


def is_sum(site: int | str) -> TypeGuard[str]:
    """Whether an item of a selection names a sum of sites."""
    return isinstance(site, str) and site.startswith(SUM)


def counted_sites(sites: Sequence[str]) -> list[str]:
    """The sites among which a number selects: blocks or stages, and sums only where there are neither.

    >>> counted_sites(["sum:all", "embed", "block.11"])
    ['block.11']
    """
    blocks = [site for site in sites if site != EMBED and not is_sum(site)]
    return blocks or [site for site in sites if is_sum(site)]


def evenly_spaced(count: int, depth: int) -> tuple[int, ...]:
    """Indices of ``count`` evenly spaced blocks out of ``depth``, always including the last one.

    >>> evenly_spaced(4, 12)
    (2, 5, 8, 11)
    >>> evenly_spaced(5, 12)
    (2, 4, 7, 9, 11)
    """
    if not 1 <= count <= depth:
        raise LosaError(f"sites={count}: expected a number from 1 to {depth}, the number of blocks or stages")
    return tuple(-(-(k + 1) * depth // count) - 1 for k in range(count))


def select_sites(selection: SiteSelection, available: Sequence[str]) -> tuple[str, ...]:
    """The selected sites, in the order of ``available``.

    ``all`` refers to every site but ``embed``, which can be selected only by name; ``n`` refers to blocks or
    stages, see `counted_sites`.

    >>> select_sites(2, backbone_sites(4))
    ('block.01', 'block.03')
    >>> select_sites(["embed", "all"], backbone_sites(2))
    ('embed', 'block.00', 'block.01')

    Args:
        selection: a number of evenly spaced blocks or stages, the last one included, ``"all"``, a name, or a
            list of these.
        available: names of the sites to select from.

    Raises:
        LosaError: an unknown name, a number out of range, or nothing selected.
    """
    counted = counted_sites(available)
    chosen: set[str] = set()
    for item in items_of(selection):
        if isinstance(item, bool) or not isinstance(item, int | str):
            raise LosaError(f"sites: expected a number, 'all' or a list of names, found {item!r}")
        if isinstance(item, int):
            chosen.update(counted[index] for index in evenly_spaced(item, len(counted)))
        elif item == "all":
            chosen.update(site for site in available if site != EMBED)
        elif item in available:
            chosen.add(item)
        else:
            raise LosaError(f"sites: there is no site {item!r} here; there are {', '.join(available)}")
    if not chosen:
        raise LosaError(f"sites: nothing is selected; there are {', '.join(available)}")
    return tuple(site for site in available if site in chosen)


def items_of(selection: SiteSelection) -> Sequence[int | str]:
    """The items of a selection, which may be a single one."""
    return [selection] if isinstance(selection, int | str) else selection


def in_order(sites: Iterable[str]) -> tuple[str, ...]:
    """Sites of one backbone: sums, then the others from input to output.

    >>> in_order({"block.100", "block.11", "embed", "sum:all"})
    ('sum:all', 'embed', 'block.11', 'block.100')
    """
    return tuple(sorted(sites, key=lambda site: (not is_sum(site), site != EMBED, len(site), site)))
