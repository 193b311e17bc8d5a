"""The caches of a study. What is extracted already is found again by the rules of losa-extract."""

from collections.abc import Sequence
from pathlib import Path

from losa.cache_format.codecs import CodecName
from losa.extract import DatasetConfig, ExtractConfig, extract
from losa.pipelines.bench.study.settings import StudySettings

CACHES = "caches"
"""Folder of the caches, below the folder of the study."""


class SetCaches:
    """The caches of one data set: of all images at all sites, one for each codec."""

    def __init__(self, settings: StudySettings, name: str) -> None:
        """Extract nothing yet.

        Args:
            settings: data sets, backbone and folder.
            name: name of the data set.
        """
        self._settings, self._name = settings, name
        self._checked: set[tuple[Path, tuple[str, ...], int]] = set()

    def of(self, codec: CodecName = ExtractConfig.codec) -> Path:
        """The folder of the cache with a codec, which is complete.

        Raises:
            LosaError: the images or the weights cannot be used, or the folder holds another cache.
        """
        named = self._name if codec == ExtractConfig.codec else f"{self._name}-{codec}"
        cache = Path(self._settings.out) / CACHES / named
        self._extract(cache, codec=codec)
        return cache

    def add_views(self, splits: Sequence[str], views: int) -> None:
        """Complete the cache with the default codec by augmented views of some splits.

        Args:
            splits: the splits.
            views: number of views of each image, itself included.

        Raises:
            LosaError: as in `of`.
        """
        self._extract(self.of(), tuple(splits), views)

    def _extract(
        self,
        cache: Path,
        splits: tuple[str, ...] = (),
        views: int = 1,
        codec: CodecName = ExtractConfig.codec,
    ) -> None:
        if (cache, splits, views) in self._checked:
            return
        settings = self._settings
        extract(
            ExtractConfig(
                dataset=DatasetConfig(kind="lists", name=self._name, root=str(settings.folders[self._name])),
                backbone=settings.backbone_config,
                cache=str(cache),
                splits=list(splits) or None,
                views=views,
                codec=codec,
                device=settings.device,
                workers=settings.workers,
            )
        )
        self._checked.add((cache, splits, views))
