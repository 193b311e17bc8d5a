"""What `losa-bench fused` times: one step of training, forward, backward and AdamW, by each method."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn import functional
from torch.optim import AdamW

from losa.adapt import AdaptConfig, FeatureSpec, LabelledActivations, Trainer, make_group
from losa.adapt.training.losses import make_objective
from losa.extract.backbone import autocast
from losa.pipelines.bench.fused.plain import PlainSideNetwork
from losa.pipelines.bench.fused.setting import NUM_CLASSES, PATCH, Method, Setting
from losa.pipelines.bench.lora import TARGETS, add_lora

LR = 1e-3

Step = Callable[[], object]


def make_batch(setting: Setting) -> tuple[Tensor, Tensor]:
    """Noise in the place of decoded activations (of images, for LoRA), in float32, and labels."""
    generator = torch.Generator().manual_seed(0)
    edge = PATCH * setting.grid
    shape = (3, edge, edge) if setting.method == "lora" else (setting.sites, setting.tokens, setting.width)
    inputs = torch.randn(setting.batch, *shape, generator=generator)
    labels = torch.randint(NUM_CLASSES, (setting.batch,), generator=generator)
    return inputs.to(setting.device), labels.to(setting.device)


def make_trainer(setting: Setting, activations: Tensor, labels: Tensor) -> Trainer:
    """Ours: the training loop of losa-adapt, whose epoch is the one batch."""
    config = AdaptConfig(
        cache="noise",
        side=setting.side,
        rank=setting.rank,
        heads=setting.heads,
        norm=setting.norm,
        batch_size=setting.batch,
        epochs=1 + setting.steps,
        lr=LR,
        dtype=setting.dtype,
    )
    sites = tuple(f"block.{site:02d}" for site in range(setting.sites))
    features = FeatureSpec(sites=sites, tokens=setting.layout, width=setting.width)
    configs = [replace(config, seed=member) for member in range(setting.members)]
    group = make_group(range(setting.members), configs, features, NUM_CLASSES, setting.device)
    targets = labels.cpu().numpy()[:, None]
    data = LabelledActivations(
        source=_InMemory(activations), positions=np.arange(setting.batch), labels=targets, sites=sites
    )
    objective = make_objective([NUM_CLASSES], targets, balanced=False, device=setting.device)
    return Trainer([group], data, objective, config, micro_batch_size=setting.micro_batch_size)


@dataclass(frozen=True)
class _InMemory:
    """A source and its only batch: activations that need no decoding."""

    activations: Tensor

    def read(self, indices: Int64[np.ndarray, "images"]) -> "_InMemory":
        """The same in another order; the order of noise does not matter."""
        return _InMemory(self.activations[: len(indices)])

    def __len__(self) -> int:
        return len(self.activations)

    def decode(self, images: slice | Int64[np.ndarray, "_"]) -> Tensor:
        """Some of them."""
        return self.activations[images]


def make_plain(setting: Setting) -> PlainSideNetwork:
    """The plain network of one member."""
    return PlainSideNetwork(
        setting.side,
        sites=setting.sites,
        tokens=setting.tokens,
        width=setting.width,
        rank=setting.rank,
        heads=setting.heads,
        num_classes=NUM_CLASSES,
        norm=setting.norm,
        dtype=getattr(torch, setting.dtype),
    )


def factored(setting: Setting, activations: Tensor, labels: Tensor) -> Step:
    """Our network, all members at once, the batch in micro-batches whose gradients are added up."""
    trainer = make_trainer(setting, activations, labels)
    epochs = itertools.count()
    return lambda: trainer.epoch(next(epochs))


def plain(setting: Setting, activations: Tensor, labels: Tensor) -> Step:
    """One member, the whole batch at once."""
    network = make_plain(setting).to(setting.device)
    optimizer = AdamW(network.parameters(), lr=LR)

    def step() -> None:
        optimizer.zero_grad()
        functional.cross_entropy(network(activations), labels).backward()
        optimizer.step()

    return step


def vmapped(setting: Setting, activations: Tensor, labels: Tensor) -> Step:
    """The plain networks of all members, stacked by `torch.func`."""
    networks = [make_plain(setting).to(setting.device) for _ in range(setting.members)]
    parameters, _ = stack_module_state(networks)
    one = networks[0].to("meta")
    del networks
    optimizer = AdamW(parameters.values(), lr=LR)

    def loss(of_member: dict[str, Tensor]) -> Tensor:
        return functional.cross_entropy(functional_call(one, of_member, (activations,)), labels)

    gradients = vmap(grad(loss))

    def step() -> None:
        for name, found in gradients({name: part.detach() for name, part in parameters.items()}).items():
            parameters[name].grad = found
        optimizer.step()
        optimizer.zero_grad()

    return step


def lora(setting: Setting, images: Tensor, labels: Tensor) -> Step:
    """LoRA through a live ViT with random weights; with 768 and 12 it is timm's vit_base_patch16_224."""
    backbone: Any = VisionTransformer(
        img_size=PATCH * setting.grid,
        patch_size=PATCH,
        embed_dim=setting.width,
        depth=setting.depth,
        num_heads=max(1, setting.width // 64),
    ).requires_grad_(False)
    if setting.dtype == "bfloat16":
        # Frozen weights need no other precision, and autocast would convert them anew in every step.
        backbone = backbone.to(torch.bfloat16)
    model = add_lora(backbone, rank=setting.rank, targets=TARGETS, num_classes=NUM_CLASSES, seed=0)
    trained = [part for part in model.to(setting.device).parameters() if part.requires_grad]
    optimizer = AdamW(trained, lr=LR)

    def step() -> None:
        optimizer.zero_grad()
        with autocast(setting.device, setting.dtype):
            scores = model(images)
        functional.cross_entropy(scores.float(), labels).backward()
        optimizer.step()

    return step


METHODS: dict[Method, Callable[[Setting, Tensor, Tensor], Step]] = {
    "factored": factored,
    "plain": plain,
    "vmap": vmapped,
    "lora": lora,
}
