"""The linear probe: only the head is trained, on the last site."""

from losa.adapt.side_networks.base import Drop, SideNetwork
from losa.adapt.streams import Stream, StreamCourse


class LinearProbe(SideNetwork):
    """Pooled output of the last site, final norm, linear head: a stream without layers."""

    def course(self) -> StreamCourse:
        """No layers."""
        return StreamCourse(layers=(), output=len(self.features.sites) - 1)

    def step(self, stream: Stream, layer: int, drop: Drop) -> None:  # noqa: ARG002 -- the contract's signature
        """Never called."""
        raise AssertionError("a linear probe has no layers")
