"""Floating point operations and bytes of a training step, as each method's own algorithm needs them.

A product of (a x b) with (b x c) counts as ``2 a b c``. Only matrix products are counted: norms, GELU,
softmax, head and optimiser are not. So all other work of a method lowers the fraction of the machine's rate
that it reaches.
"""

from losa.pipelines.bench.fused.setting import Setting


def useful_flops(setting: Setting) -> float:
    """Operations of forward and backward for one member and one batch."""
    if setting.method == "lora":
        return setting.batch * _lora_flops(setting)
    if setting.method == "factored":
        return setting.batch * (_base_flops(setting) + _cross_flops(setting) + _attention_flops(setting))
    return setting.batch * (_materialised_flops(setting) + _attention_flops(setting))


def useful_bytes(setting: Setting) -> float:
    """Bytes of frozen features that the factored network reads for one batch, for all members together.

    Each product with the base reads it once, forward and for the gradients of its weights. Codes, parameters
    and everything that is written are not counted, so that the rate is a lower bound of what memory delivers.
    """
    products = 1 if setting.side == "last" else 2
    values = setting.batch * setting.sites * setting.tokens * setting.width
    return float(2 * products * values * setting.itemsize)


def _base_flops(setting: Setting) -> float:
    """Factored method, one image: products with the frozen features, forward and for weights' gradients.

    LoSA has two of them in a layer (``W base^T``, ``T base``), LAST has one with three times the rank, and
    Relay one of each, the first with twice the rank.
    """
    rows = (2 if setting.side == "losa" else 3) * setting.rank
    return 2 * setting.sites * 2 * rows * setting.tokens * setting.width


def _cross_flops(setting: Setting) -> float:
    """Factored method, one image: products with earlier updates; backward has two for each of forward's.

    Layer ``i`` of LoSA has the updates of ``2 i`` mixes before its first mix, of ``2 i + 1`` before its
    second. One factor of an update differs between images, the other is shared by the batch. Each image has
    its own product with the first. That with the second is computed once for the batch and not counted. Both
    factors of Relay's updates differ.
    """
    rank, tokens, width = setting.rank, setting.tokens, setting.width
    total = 0.0
    for layer in range(setting.sites):
        if setting.side == "last":
            total += 2 * (3 * rank) * (rank * layer) * tokens
            continue
        if setting.side == "relay":
            total += 2 * (3 * rank) * (rank * layer) * (tokens + width)
            continue
        channel_rank, token_rank = rank * layer, rank * layer
        # W v^T with each image's v, then with all u.
        total += 2 * rank * (token_rank * width + (channel_rank + token_rank) * tokens)
        channel_rank += rank
        # T u^T with each image's u, then with all v.
        total += 2 * rank * (channel_rank * tokens + (channel_rank + token_rank) * width)
    return 3 * total


def _materialised_flops(setting: Setting) -> float:
    """Plain method, one image: projections down and up; backward has two products for each of forward's.

    A layer of LoSA has two of each, a layer of LAST one, where the projection down has three times the rank.
    A layer of Relay has two down, of twice the rank and of the rank, and one up.
    """
    rows = 4 * setting.rank
    return 3 * setting.sites * 2 * rows * setting.tokens * setting.width


def _attention_flops(setting: Setting) -> float:
    """LAST, one image: queries with keys, weights with values; backward has twice as many products."""
    if setting.side != "last":
        return 0.0
    return 3 * setting.sites * 2 * 2 * setting.tokens**2 * setting.rank


def _lora_flops(setting: Setting) -> float:
    """LoRA, one image: the blocks, without gradients of frozen weights, and the updates."""
    tokens, width = setting.tokens, setting.width
    frozen = 2 * 2 * tokens * 12 * width**2
    attention = 3 * 2 * 2 * tokens**2 * width
    updates = 3 * 2 * tokens * setting.rank * (width + 3 * width)
    return setting.depth * (frozen + attention + updates)
