"""Names of the sites of a backbone, and the rule that selects among them."""

from collections.abc import Iterable, Sequence

from losa.cache_format.errors import LosaError

EMBED = "embed"
"""Site of the tokens that enter block 0: patch embedding, position embedding, prefix tokens."""

SiteSelection = int | str | Sequence["int | str"]
"""``n`` (evenly spaced blocks or stages), ``"all"`` (each of them), a site's name, or a list of these."""


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
    """
    return (EMBED, *(block_site(block) for block in range(depth)))


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

    ``embed`` can be selected only by name: ``all`` and ``n`` refer to blocks or stages.

    >>> select_sites(2, backbone_sites(4))
    ('block.01', 'block.03')
    >>> select_sites(["embed", "all"], backbone_sites(2))
    ('embed', 'block.00', 'block.01')

    Raises:
        LosaError: an unknown name, a number out of range, or nothing selected.
    """
    blocks = [site for site in available if site != EMBED]
    chosen: set[str] = set()
    for item in [selection] if isinstance(selection, int | str) else selection:
        if isinstance(item, bool) or not isinstance(item, int | str):
            raise LosaError(f"sites: expected a number, 'all' or a list of names, found {item!r}")
        if isinstance(item, int):
            chosen.update(blocks[index] for index in evenly_spaced(item, len(blocks)))
        elif item == "all":
            chosen.update(blocks)
        elif item in available:
            chosen.add(item)
        else:
            raise LosaError(f"sites: there is no site {item!r} here; there are {', '.join(available)}")
    if not chosen:
        raise LosaError(f"sites: nothing is selected; there are {', '.join(available)}")
    return tuple(site for site in available if site in chosen)


def in_order(sites: Iterable[str]) -> tuple[str, ...]:
    """Sites of one backbone from input to output.

    >>> in_order({"block.100", "block.11", "embed"})
    ('embed', 'block.11', 'block.100')
    """
    return tuple(sorted(sites, key=lambda site: (site != EMBED, len(site), site)))
