"""Sites that are the sum of others: how they are named, and which sites they add up.

``sum:`` is followed by what the list of a selection may hold, with ``+`` for the comma: ``sum:all``,
``sum:4``, ``sum:embed+all``, ``sum:block.02+block.05``. A sum may be spelled in several ways, of which one
is recorded; see `sum_site`.
"""

from collections.abc import Sequence

from losa.cache_format.errors import LosaError
from losa.cache_format.sites import (
    EMBED,
    SUM,
    SiteSelection,
    backbone_sites,
    in_order,
    is_sum,
    items_of,
    select_sites,
    stage_site,
)


def summed_sites(site: str, backbone: Sequence[str]) -> tuple[str, ...]:
    """The sites that a sum adds up, from input to output; of any other site, the site itself.

    >>> summed_sites("sum:embed+2", backbone_sites(4))
    ('embed', 'block.01', 'block.03')

    Args:
        site: name of a site, a sum in any spelling.
        backbone: all sites of the backbone, from input to output.

    Raises:
        LosaError: the sum has an unknown term, one that it has already, or fewer than two.
    """
    if not is_sum(site):
        return (site,)
    terms: list[str] = []
    for part in site.removeprefix(SUM).split("+"):
        try:
            found = select_sites(int(part) if part.isdecimal() else part, backbone)
        except LosaError as error:
            raise LosaError(f"{site!r}: {error}") from None
        if twice := [term for term in found if term in terms]:
            raise LosaError(f"sites: {site!r} names {twice[0]} twice, but a sum adds a site once")
        terms += found
    if len(terms) < 2:
        raise LosaError(f"sites: {site!r} adds up {terms[0]} alone: select sites=[{terms[0]}]")
    return tuple(term for term in backbone if term in terms)


def sum_site(terms: Sequence[str], backbone: Sequence[str]) -> str:
    """The name of a sum. Sums of different sites of a backbone have different names.

    It is ``embed``, if that is in the sum, and the blocks or stages in the shortest spelling: ``all``, else
    their number if they are evenly spaced, else their names from input to output.

    >>> sum_site(["block.00", "block.01"], backbone_sites(2))
    'sum:all'
    >>> sum_site(["embed", "block.01", "block.03"], backbone_sites(4))
    'sum:embed+2'
    """
    first = [term for term in terms if term == EMBED]
    blocks = tuple(term for term in backbone if term in terms and term != EMBED)
    shorter: list[int | str] = ["all", len(blocks)] if len(blocks) > 1 else []
    spelling = [str(each) for each in shorter if select_sites(each, backbone) == blocks][:1]
    return SUM + "+".join([*first, *(spelling or blocks)])


def backbone_selection(selection: SiteSelection, backbone: Sequence[str]) -> tuple[str, ...]:
    """The sites of a backbone that a selection names, and sums of them.

    >>> backbone_selection(["block.03", "sum:4"], backbone_sites(4))
    ('sum:all', 'block.03')

    Args:
        selection: a selection with sums in any spelling.
        backbone: all sites of the backbone, from input to output.

    Returns:
        The names of the sites, as they are recorded, in the order of `in_order`.

    Raises:
        LosaError: the selection, or a sum in it, is wrong.
    """
    items = items_of(selection)
    sums = [sum_site(summed_sites(item, backbone), backbone) for item in items if is_sum(item)]
    others = [item for item in items if not is_sum(item)]
    plain = select_sites(others, backbone) if others or not sums else ()
    return in_order({*sums, *plain})


def stored_selection(selection: SiteSelection, stored: Sequence[str], depth: int) -> tuple[str, ...]:
    """The selected ones of the sites of a cache, in their order; a sum is found by any of its spellings.

    >>> stored_selection("sum:12", ["sum:all", "block.11"], depth=12)
    ('sum:all',)

    Args:
        selection: a selection with sums in any spelling.
        stored: the stored sites.
        depth: number of blocks or stages of the backbone.

    Raises:
        LosaError: the selection is wrong, or a site is not stored.
    """
    items = [_recorded(item, depth) if is_sum(item) else item for item in items_of(selection)]
    for item in items:
        if is_sum(item) and item not in stored:
            raise LosaError(
                f"sites: there is no site {item!r} here; there are {', '.join(stored)}. A sum is computed by "
                f"losa-extract sites=[{item}]"
            )
    return select_sites(items, stored)


def _recorded(site: str, depth: int) -> str:
    """The recorded name of a sum of a backbone whose sites are not all stored."""
    stages = tuple(map(stage_site, range(depth)))
    of_stages = any(term in stages for term in site.removeprefix(SUM).split("+"))
    backbone = stages if of_stages else backbone_sites(depth)
    return sum_site(summed_sites(site, backbone), backbone)
