"""What to do about a damaged shard."""

from losa.cache_format.storage.paths import CachePath, shell_path


def repair_advice(cache: CachePath) -> str:
    """The commands that make damaged shards again, as the end of a message."""
    return (
        f"Run losa-cache repair {shell_path(cache)}, then the losa-extract command that made the cache: "
        "it makes the damaged shards again"
    )
