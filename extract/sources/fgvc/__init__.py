"""The data sets of the FGVC benchmark as they are unpacked, one reader per file of lists."""

from losa.extract.sources.fgvc.layouts import read_fgvc

__all__ = ["read_fgvc"]
