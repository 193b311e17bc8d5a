"""Side networks and methods through the live backbone, measured on the same images one after another."""

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast, get_args

from losa.adapt import AdaptConfig
from losa.adapt.side_networks import SIDE_NETWORKS
from losa.cache_format import LosaError
from losa.cache_format.codecs import CodecName
from losa.cache_format.common.device import resolve_device
from losa.cache_format.common.emulated_dtypes import warn_if_emulated
from losa.cache_format.common.progress import progress_bar
from losa.cache_format.common.suggestions import nearest
from losa.cache_format.metadata.labels import MISSING_LABEL
from losa.cache_format.storage.sealed_json import canonical
from losa.extract import DatasetConfig, open_source
from losa.pipelines.bench.data_folders import find_data_folders
from losa.pipelines.bench.live.lora import TARGETS
from losa.pipelines.bench.live.records import TrainingRecords
from losa.pipelines.bench.live.training import TrainingOptions
from losa.pipelines.bench.machine import describe_machine
from losa.pipelines.bench.matrix_rate import Dtype
from losa.pipelines.report.efficiency.measurements import Measurement, Measurements
from losa.pipelines.report.efficiency.setting import Kind, Setting

LIVE_METHODS = ("lora", "bitfit", "adapter", "full")
_DEFAULTS = AdaptConfig(cache="any")
_CHANGING = ("load_average",)
"""What is told of a machine, and changes from one minute to the next."""


@dataclass(frozen=True, kw_only=True)
class EfficiencyComparison:
    """The photographs, the backbone, what is measured, and how."""

    data: str
    """Folder of the photographs, with lists."""
    backbone: str
    out: str
    """Folder of the cache, of the finished measurements and of the results."""
    checkpoint: str | None = None
    pretrained: bool = True
    sides: Sequence[str] = ("linear", "attentive", "losa", "last", "lst", "relay")
    """Trained from the cache."""
    methods: Sequence[str] = LIVE_METHODS
    """Trained through the live backbone."""
    checkpointing: bool = True
    """Whether these are measured with gradient checkpointing, too."""
    rank: int = _DEFAULTS.resolved_rank
    """Of the side networks, of LoRA's updates and of the adapters' bottlenecks."""
    targets: Sequence[str] = TARGETS
    sites: int | str = "all"
    codec: str = "int8"
    train_split: str = "train800val200"
    epochs: int = _DEFAULTS.epochs
    batch: int = _DEFAULTS.batch_size
    micro_batch: int | None = None
    steps: int = 10
    seconds: float = 300.0
    dtype: str = _DEFAULTS.dtype
    device: str = "auto"
    threads: int | None = None
    again: bool = False
    """Whether finished measurements are made anew."""

    def __post_init__(self) -> None:
        """Refuse options that cannot be measured."""
        for option, values, known in (
            ("--side", self.sides, SIDE_NETWORKS),
            ("--method", self.methods, LIVE_METHODS),
            ("--codec", [self.codec], get_args(CodecName)),
            ("--dtype", [self.dtype], get_args(Dtype)),
        ):
            for value in values:
                if value not in known:
                    raise LosaError(
                        f"{option} {value}: expected one of {', '.join(known)}{nearest(value, known)}"
                    )
        for option in ("rank", "epochs", "batch", "micro-batch", "steps", "threads"):
            number = getattr(self, option.replace("-", "_"))
            if number is not None and number < 1:
                raise LosaError(f"--{option} {number}: expected at least 1")
        if not self.seconds > 0:
            raise LosaError(f"--seconds {self.seconds:g}: expected more than 0")

    @cached_property
    def folder(self) -> Path:
        """The folder of the photographs.

        Raises:
            LosaError: there are no lists in it, or it holds several data sets.
        """
        found = find_data_folders([self.data])
        if len(found) > 1:
            raise LosaError(
                f"{self.data}: expected the folder of one data set, found {', '.join(found)}: the costs "
                "hardly depend on the images; take one of them"
            )
        (folder,) = found.values()
        return folder

    @cached_property
    def resolved_device(self) -> str:
        """The device, where it is ``auto``."""
        return resolve_device(self.device)

    @cached_property
    def machine(self) -> dict[str, Any]:
        """Description of this machine."""
        return describe_machine(self.resolved_device)

    @cached_property
    def images(self) -> int:
        """Number of images to train on: those of the training list that have a label."""
        (labels,) = self._contents.labels.values()
        return int((labels != MISSING_LABEL).sum())

    @property
    def training(self) -> TrainingOptions:
        """Options of trainings through the live backbone."""
        return TrainingOptions(epochs=self.epochs, batch=self.batch, dtype=self.dtype)

    def run(self) -> list[Measurement]:
        """Measure what is not finished yet.

        Returns:
            The measurements: of the extraction, of the backbone, of the side networks, and of the methods,
            each without and then with gradient checkpointing.

        Raises:
            LosaError: the data set cannot be read, there is no such device, or a record is damaged.
        """
        warn_if_emulated(self.dtype, self.resolved_device)
        settings = self.settings
        if self.again:
            shutil.rmtree(self.cache, ignore_errors=True)
        measurements = Measurements(
            records=TrainingRecords(Path(self.out) / "measurements"), around=self._around, again=self.again
        )
        found: list[Measurement] = []
        with progress_bar(len(settings), "measuring", "processes", leave=False) as bar:
            for setting in settings:
                bar.set_postfix_str(f"{setting.method}{' checkpointing' if setting.checkpointing else ''}")
                extraction = found[0] if setting.kind == "cache" else None
                if extraction is not None and extraction.note is not None:
                    note = f"there is no cache: extraction {extraction.note}"
                    found.append(Measurement(setting=setting, figures={}, note=note, failed=True))
                else:
                    found.append(measurements.measure(setting))
                bar.update()
        return found

    @cached_property
    def settings(self) -> list[Setting]:
        """What is measured, the extraction first."""
        wanted: list[tuple[Kind, str, bool]] = [("extraction", "extraction", False)]
        wanted.append(("backbone", "backbone", False))
        wanted += [("cache", side, False) for side in dict.fromkeys(self.sides)]
        for method in dict.fromkeys(self.methods):
            wanted.append(("live", method, False))
            if self.checkpointing:
                wanted.append(("live", method, True))
        return [
            Setting(
                kind=kind,
                method=method,
                checkpointing=checkpointing,
                data=str(self.folder),
                train_split=self.train_split,
                cache=str(self.cache),
                backbone=self.backbone,
                checkpoint=self.checkpoint,
                pretrained=self.pretrained,
                sites=self.sites,
                codec=cast(CodecName, self.codec),
                rank=self.rank,
                targets=tuple(self.targets),
                batch=self.batch,
                micro_batch=self.micro_batch,
                steps=self.steps,
                seconds=self.seconds,
                dtype=cast(Dtype, self.dtype),
                device=self.resolved_device,
                threads=self.threads,
            )
            for kind, method, checkpointing in wanted
        ]

    @cached_property
    def _contents(self) -> Any:
        source = open_source(DatasetConfig(kind="lists", name=self.folder.name, root=str(self.folder)))
        return source.contents(self.train_split)

    @cached_property
    def _around(self) -> dict[str, Any]:
        machine = {name: value for name, value in self.machine.items() if name not in _CHANGING}
        return {"keys_sha256": self._contents.keys_sha256, "machine": machine}

    @property
    def cache(self) -> Path:
        """The folder of the cache, of another name for another cache."""
        determining = [self.backbone, self.checkpoint, self.pretrained, self.sites, self.codec, self.dtype]
        digest = hashlib.sha256(canonical({"cache": determining, "split": self.train_split})).hexdigest()
        return Path(self.out) / "caches" / f"{self.folder.name[:100]}-{digest[:8]}"
