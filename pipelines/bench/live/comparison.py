"""Methods that train through the live backbone, on several data sets, with a learning rate for each."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast, get_args

from losa.cache_format import LosaError
from losa.cache_format.common.device import resolve_device
from losa.cache_format.common.emulated_dtypes import warn_if_emulated
from losa.extract import BackboneConfig, FrozenBackbone, load_backbone
from losa.pipelines.bench.data_folders import find_data_folders
from losa.pipelines.bench.live.data import LiveData
from losa.pipelines.bench.live.lora import TARGETS
from losa.pipelines.bench.live.methods import RANKED, Method, nearest_rank
from losa.pipelines.bench.live.records import TrainingRecords
from losa.pipelines.bench.live.training import TrainingOptions
from losa.pipelines.bench.live.trainings import Configuration, Trainings
from losa.pipelines.bench.unknown_names import refuse_unknown
from losa.pipelines.cells import Cell

DEFAULT_RANK = 8


@dataclass(frozen=True, kw_only=True)
class LiveComparison:
    """Data sets, methods, and what is chosen and trained of each."""

    data: Sequence[str]
    """Folders of data sets, or folders that hold several."""
    out: str
    """Folder of the finished trainings."""
    backbone: str
    checkpoint: str | None = None
    pretrained: bool = True
    sets: Sequence[str] = ()
    """Names of the data sets to take; all if there are none."""
    methods: Sequence[str] = ("lora", "bitfit", "adapter")
    rank: int | None = None
    """Of LoRA's updates and of the adapters' bottlenecks; None for `DEFAULT_RANK`, or by ``parameters``."""
    parameters: int | None = None
    """Where methods have a rank, it is the one that trains the number of parameters nearest to this."""
    targets: Sequence[str] = TARGETS
    lrs: Sequence[float] = (1e-3, 3e-3, 1e-2)
    """Of several, each data set and method takes the one that is best on ``select_split``."""
    seeds: Sequence[int] = (0,)
    """The choice is made with the first."""
    train_split: str = "train800val200"
    test_split: str = "test"
    select_train_split: str = "train800"
    select_split: str = "val200"
    training: TrainingOptions = field(default_factory=TrainingOptions)
    device: str = "auto"
    seconds: float = 24 * 60 * 60
    """Time limit of a training: one that would take longer is refused after its first steps."""

    def __post_init__(self) -> None:
        """Refuse options that cannot be trained."""
        refuse_unknown("--method", self.methods, get_args(Method))
        if self.rank is not None and self.parameters is not None:
            raise LosaError("--rank and --parameters: expected one of them, because one gives the other")
        for option, number in (("--rank", self.rank), ("--parameters", self.parameters)):
            if number is not None and number < 1:
                raise LosaError(f"{option} {number}: expected at least 1")
        for option, value in (*(("--lr", lr) for lr in self.lrs), ("--seconds", self.seconds)):
            if not value > 0:
                raise LosaError(f"{option} {value:g}: expected more than 0")
        for option, values in (("--method", self.methods), ("--lr", self.lrs), ("--seed", self.seeds)):
            if len(set(values)) < len(values):
                raise LosaError(f"{option} {f' {option} '.join(map(str, values))}: expected each value once")

    @property
    def folders(self) -> dict[str, Path]:
        """The data sets, by name; raises as `find_data_folders`."""
        return find_data_folders(self.data, self.sets)

    def run(self) -> list[dict[str, Any]]:
        """Train what is not finished yet.

        Returns:
            A row for each data set and method:

            - ``set``, ``method``, ``rank`` (None if it has none), ``parameters`` (trained ones, with
              the head), ``lr``;
            - ``candidates``: for each learning rate ``lr`` and what `Trainings.result` returns; none if
              there is only one rate;
            - ``trainings``: for each seed ``seed`` and what `Trainings.result` returns;
            - ``percent``: the fields of a `Cell`: mean and standard error of their accuracies on the test
              split;
            - ``seconds`` of a training, decoding and scoring excluded, and ``seconds_per_epoch``: means.

        Raises:
            LosaError: peft is missing, the data cannot be read or do not fit into memory, splits share
                images, a record is damaged, a training would take too long, or all learning rates diverged.
        """
        folders = self.folders
        device = resolve_device(self.device)
        warn_if_emulated(self.training.dtype, device)
        backbone = load_backbone(
            BackboneConfig(name=self.backbone, checkpoint=self.checkpoint, pretrained=self.pretrained)
        )
        rows = []
        for name, folder in folders.items():
            trainings = Trainings(
                name=name,
                data=self._read(folder, backbone),
                backbone=backbone,
                targets=self.targets,
                options=self.training,
                device=device,
                seconds=self.seconds,
                records=TrainingRecords(Path(self.out)),
            )
            rows += [self._row(trainings, cast(Method, method)) for method in self.methods]
        return rows

    def _read(self, folder: Path, backbone: FrozenBackbone) -> LiveData:
        choice = [self.select_train_split, self.select_split] if len(self.lrs) > 1 else []
        data = LiveData(folder, [self.train_split, self.test_split, *choice], backbone.preprocessing)
        data.refuse_shared_images(self.test_split, [self.train_split, *choice])
        if choice:
            data.refuse_shared_images(self.select_split, [self.select_train_split])
        return data

    def _row(self, trainings: Trainings, method: Method) -> dict[str, Any]:
        rank = self._rank(trainings, method)
        configure = partial(Configuration, method=method, rank=rank)
        before = partial(configure, train_split=self.select_train_split, scored_split=self.select_split)
        after = partial(configure, train_split=self.train_split, scored_split=self.test_split)
        candidates = []
        if len(self.lrs) > 1:
            for lr in self.lrs:
                candidates.append({"lr": lr, **trainings.result(before(lr=lr, seed=self.seeds[0]))})
        lr = _best(candidates, trainings.name, method) if candidates else self.lrs[0]
        finals = [{"seed": seed, **trainings.result(after(lr=lr, seed=seed))} for seed in self.seeds]
        cell = Cell.of_seeds([final["accuracy"] for final in finals])
        if cell is None:
            raise LosaError(
                f"{trainings.name}, {method}: with --lr {lr:g} the loss of a seed became NaN or infinite: "
                "use less"
            )
        return {
            "set": trainings.name,
            "method": method,
            "rank": rank,
            "parameters": finals[0]["parameters"],
            "lr": lr,
            "candidates": candidates,
            "trainings": finals,
            "percent": asdict(cell),
            "seconds": statistics.fmean(final["seconds"] for final in finals),
            "seconds_per_epoch": statistics.fmean(final["seconds_per_epoch"] for final in finals),
        }

    def _rank(self, trainings: Trainings, method: Method) -> int | None:
        if method not in RANKED:
            return None
        if self.parameters is None:
            return self.rank or DEFAULT_RANK
        return nearest_rank(
            method,
            trainings.backbone.model,
            parameters=self.parameters,
            targets=self.targets,
            num_classes=trainings.data.column.num_classes,
        )


def _best(candidates: Sequence[dict[str, Any]], name: str, method: Method) -> float:
    """The learning rate with the best accuracy; of equal ones the first, as in losa-adapt."""
    finished = [candidate for candidate in candidates if candidate["accuracy"] is not None]
    if not finished:
        raise LosaError(f"{name}, {method}: with every --lr the loss became NaN or infinite: use less")
    best: float = max(finished, key=lambda candidate: candidate["accuracy"])["lr"]
    return best
