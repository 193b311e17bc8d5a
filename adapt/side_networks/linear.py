"""The linear probe, the usual baseline: only the head is trained, on the last site.

    scores = W norm(pool(b_L)) + c

b_L are the cached activations of the last site, and norm is the backbone's final norm.
"""

from typing import ClassVar

from losa.adapt.side_networks.base import SideNetwork
from losa.adapt.streams import StreamSites


class LinearProbe(SideNetwork):
    """A stream without layers: no parameters beside the head's ``(width + 1) * classes``."""

    options: ClassVar[tuple[str, ...]] = ("pool",)
    reads_last_site_only: ClassVar[bool] = True
    sees_updates: ClassVar[bool] = False
    has_dropout: ClassVar[bool] = False

    def stream_sites(self) -> StreamSites:
        """No layers; the output is the last site."""
        return StreamSites(layers=(), output=len(self.features.sites) - 1)
