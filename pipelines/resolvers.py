"""What ``${...}`` in the configuration of data sets and caches refers to."""

from omegaconf import OmegaConf

from losa.extract.backbone_names import folder_name
from losa.extract.data_set_root import folder_of


def register() -> None:
    """Tell OmegaConf what names caches after data set and backbone, and data sets after their folders."""
    OmegaConf.register_new_resolver("folder_name", folder_name, replace=True)
    OmegaConf.register_new_resolver("folder_of", folder_of, replace=True)
