"""The two layouts of arrays in files: zarr and HDF5. A store makes names and bytes; it writes no files."""

from losa.cache_format.stores.base import Store, StoreName
from losa.cache_format.stores.hdf5_store import Hdf5Store
from losa.cache_format.stores.zarr_store import ZarrStore

__all__ = ["Store", "StoreName", "make_store"]

_STORES: dict[StoreName, Store] = {"zarr": ZarrStore(), "hdf5": Hdf5Store()}


def make_store(name: StoreName) -> Store:
    """The store with the given name."""
    return _STORES[name]
