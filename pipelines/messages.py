"""Messages of errors that are meant for people."""

from losa.cache_format import LosaError


def for_people(error: BaseException) -> str | None:
    """The message of an error that is not a bug in losa; None for any other error."""
    if isinstance(error, LosaError):
        return str(error)
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.strerror}: {error.filename}"
    if isinstance(error, OSError) and error.errno is not None:
        return error.strerror or str(error)  # failed writes name no file, buckets never do
    return None
