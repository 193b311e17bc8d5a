"""The JSON schema of a manifest, for readers in other languages and for editors."""

from typing import Any

from pydantic import TypeAdapter

from losa.cache_format.manifest import FORMAT_VERSION, Manifest
from losa.cache_format.storage.sealed_json import CHECKSUM

_ALWAYS_WRITTEN = ("format", "version", CHECKSUM)
"""Fields that a file has in any case: an object in memory has defaults for two of them, and no seal."""


def manifest_schema() -> dict[str, Any]:
    """The schema of ``manifest.json``, in the dialect of draft 2020-12.

    It says which fields there are, and their types and limits. Rules that join several fields, such as names
    that have to be unique, and the seal itself stand in docs/format.md alone.

    >>> manifest_schema()["properties"]["store"]["enum"]
    ['zarr', 'hdf5']
    """
    schema = TypeAdapter(Manifest).json_schema()
    schema["properties"][CHECKSUM] = {
        "description": "The seal: crc32c of the canonical encoding of all other fields.",
        "pattern": "^[0-9a-f]{8}$",
        "type": "string",
    }
    schema["required"] = [*_ALWAYS_WRITTEN, *schema["required"]]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Manifest of a losa cache, format version {FORMAT_VERSION}",
        **{name: value for name, value in schema.items() if name != "title"},
    }
