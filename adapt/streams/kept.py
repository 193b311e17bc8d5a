"""What the forward pass of a stream keeps for its backward pass, which may use it once."""

from typing import Any


def take_kept(ctx: Any, stream: str) -> Any:
    """``ctx.kept``, which is freed as the backward pass proceeds, as by autograd itself.

    Args:
        ctx: the context of an autograd function.
        stream: what the stream is called, for the message.

    Raises:
        RuntimeError: it was taken already.
    """
    if ctx.kept is None:
        raise RuntimeError(f"the gradient of a {stream} stream was taken already; it can be taken once")
    kept, ctx.kept = ctx.kept, None
    return kept
