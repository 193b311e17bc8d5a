"""The linear probe: only the head is trained, on the last site."""

from typing import ClassVar

from losa.adapt.side_networks.base import SideNetwork
from losa.adapt.streams import StreamCourse


class LinearProbe(SideNetwork):
    """Pooled output of the last site, final norm, linear head: a stream without layers."""

    options: ClassVar[tuple[str, ...]] = ("pool",)
    reads_last_site_only: ClassVar[bool] = True
    sees_updates: ClassVar[bool] = False

    def course(self) -> StreamCourse:
        """No layers."""
        return StreamCourse(layers=(), output=len(self.features.sites) - 1)
