"""The methods of `losa-bench extract` that are other libraries', which may be missing.

They are given every advantage: the same loaded backbone, torch's DataLoader with several processes, and all
sites in one pass.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from losa.cache_format.sites import EMBED
from losa.extract.precision import precision
from losa.pipelines.bench.extraction.photographs import Photographs
from losa.pipelines.bench.extraction.setting import Setting, StartPass
from losa.pipelines.bench.extraction.timm_methods import Timm

THINGSVISION_MEGABYTES, MEGABYTES_PER_IMAGE = 8000, 3
"""By these thingsvision computes after how many batches it saves. Left to do so, it decodes the first batch
once more."""


def thingsvision(setting: Setting) -> StartPass:
    """``extract_features`` of several modules to a folder, as NumPy files in float32."""
    from thingsvision import get_extractor_from_model

    timm = Timm(setting)
    extractor = get_extractor_from_model(model=timm.model, device=setting.device, backend="pt")
    modules = _modules(timm)

    def start(images: int, folder: Path) -> Callable[[], object]:
        def run() -> None:
            with precision(setting.device, setting.dtype):
                extractor.extract_features(
                    batches=timm.loader(images),
                    module_names=modules,
                    flatten_acts=False,
                    output_type="ndarray",
                    output_dir=str(folder),
                    step_size=THINGSVISION_MEGABYTES // (setting.batch * MEGABYTES_PER_IMAGE) + 1,
                )

        return run

    return start


def kaiko_eva(setting: Setting) -> StartPass:
    """``Trainer.predict`` with the callback that writes embeddings: a file of torch's for each image."""
    from eva.core.callbacks import ClassificationEmbeddingsWriter
    from eva.core.models.modules import InferenceModule
    from eva.core.trainers import Trainer

    timm = Timm(setting)
    device = torch.device(setting.device)

    def start(images: int, folder: Path) -> Callable[[], object]:
        trainer = Trainer(
            default_root_dir=str(folder),
            accelerator=device.type,
            devices=1 if device.index is None else [device.index],
            callbacks=[ClassificationEmbeddingsWriter(output_dir=str(folder))],
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
        )
        loader = DataLoader(
            _Named(timm.photographs(images)),
            batch_size=setting.batch,
            num_workers=setting.workers,
            pin_memory=setting.device != "cpu",
        )

        def run() -> None:
            with precision(setting.device, setting.dtype):
                trainer.predict(InferenceModule(_Activations(timm)), [loader], return_predictions=False)

        return run

    return start


def _modules(timm: Timm) -> list[str]:
    """Names of the modules whose outputs are the activations at the sites, as timm lists them.

    Raises:
        ValueError: timm lists other modules.
    """
    names = [info["module"] for info in timm.model.feature_info]
    sites = [site for site in timm.backbone.sites if site != EMBED]
    if len(sites) != len(names):
        raise ValueError(f"timm lists {len(names)} modules for the {len(sites)} sites of this backbone")
    of_site = dict(zip(sites, names, strict=True))
    return [of_site[site] for site in timm.group.sites]


class _Activations(nn.Module):
    """The backbone as a module whose output is the activations at all sites."""

    def __init__(self, timm: Timm) -> None:
        super().__init__()
        self.model = timm.model
        self._timm = timm

    def forward(self, images: Tensor) -> Tensor:
        return self._timm.backbone.activations(images, self._timm.group.sites)


class _Named(Dataset[tuple[Tensor, Tensor]]):
    """Photographs with a target, and with the name of a file for each, which kaiko-eva asks for."""

    def __init__(self, photographs: Photographs) -> None:
        self._photographs = photographs

    def __len__(self) -> int:
        return len(self._photographs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self._photographs[index], torch.tensor(0)

    def filename(self, index: int) -> str:
        return f"{index:06d}.jpg"
