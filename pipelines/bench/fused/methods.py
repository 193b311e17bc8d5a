"""The methods that `losa-bench fused` compares: a training step (forward, backward and AdamW) of each."""

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

from losa.adapt import AdaptConfig, FeatureSpec, LabelledActivations, LabelledImages, Trainer, make_group
from losa.adapt.data.reused_memory import ReusedMemory
from losa.adapt.training.losses import make_objective
from losa.extract.precision import precision
from losa.pipelines.bench.fused.plain import PlainSideNetwork
from losa.pipelines.bench.fused.setting import NUM_CLASSES, PATCH, Method, Setting
from losa.pipelines.bench.live.lora import TARGETS, add_lora

LR = 1e-3
OTHER_STEPS = 16
"""Steps of a measurement at most, beside the timed ones."""

Step = Callable[[], object]


def make_batch(setting: Setting) -> tuple[Tensor, Tensor]:
    """Noise in place of decoded activations (for LoRA, of images) in float32, and random labels."""
    generator = torch.Generator().manual_seed(0)
    edge = PATCH * setting.grid
    shape = (3, edge, edge) if setting.method == "lora" else (setting.sites, setting.tokens, setting.width)
    inputs = torch.randn(setting.batch, *shape, generator=generator)
    labels = torch.randint(NUM_CLASSES, (setting.batch,), generator=generator)
    return inputs.to(setting.device), labels.to(setting.device)


def make_trainer(setting: Setting, activations: Tensor, labels: Tensor) -> Trainer:
    """The trainer of losa-adapt, with one epoch of as many steps as a measurement takes at most."""
    config = AdaptConfig(
        cache="noise",
        side=setting.side,
        rank=setting.rank,
        heads=setting.heads,
        norm=setting.norm,
        probe_share=0.0,
        batch_size=setting.batch,
        epochs=1,
        lr=LR,
        dtype=setting.dtype,
        compile=setting.compile,
    )
    sites = tuple(f"block.{site:02d}" for site in range(setting.sites))
    features = FeatureSpec(sites=sites, tokens=setting.layout, width=setting.width)
    configs = [replace(config, seed=member) for member in range(setting.members)]
    group = make_group(range(setting.members), configs, features, NUM_CLASSES, setting.device)
    targets = np.tile(labels.cpu().numpy()[:, None], (setting.steps + OTHER_STEPS, 1))
    data = LabelledActivations(
        source=_InMemory(activations), images=LabelledImages(np.arange(len(targets)), targets), sites=sites
    )
    objective = make_objective([NUM_CLASSES], targets, balanced=False, device=setting.device)
    return Trainer([group], data, objective, config, micro_batch_size=setting.micro_batch_size)


@dataclass(frozen=True)
class _InMemory:
    """A source of activations with one batch, which is the source itself and needs no decoding."""

    activations: Tensor

    def read(self, indices: Int64[np.ndarray, "images"]) -> "_InMemory":
        """Return the first images, as many as requested; the order of noise does not matter."""
        return _InMemory(self.activations[: len(indices)])

    def __len__(self) -> int:
        return len(self.activations)

    def decode(
        self,
        images: slice | Int64[Tensor, "_"],
        memory: ReusedMemory | None = None,  # noqa: ARG002 -- an argument of every `Batch`
    ) -> Tensor:
        """Select activations, which needs no memory."""
        return self.activations[images]

    def copy(self) -> "_InMemory":
        """See `Batch`."""
        return _InMemory(self.activations.clone())

    def copy_from(self, other: "_InMemory") -> None:
        """See `Batch`."""
        self.activations.copy_(other.activations)


def make_plain(setting: Setting) -> PlainSideNetwork:
    """A side network of one member in plain PyTorch."""
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


def factored_step(setting: Setting, activations: Tensor, labels: Tensor) -> Step:
    """All members in one factored network, which adds up the gradients of micro-batches."""
    steps = make_trainer(setting, activations, labels).steps_in(0)
    return lambda: next(steps)


def plain_step(setting: Setting, activations: Tensor, labels: Tensor) -> Step:
    """One member in plain PyTorch, the whole batch at once."""
    network = make_plain(setting).to(setting.device)
    optimizer = AdamW(network.parameters(), lr=LR)

    def step() -> None:
        optimizer.zero_grad()
        functional.cross_entropy(network(activations), labels).backward()
        optimizer.step()

    return step


def vmap_step(setting: Setting, activations: Tensor, labels: Tensor) -> Step:
    """The plain networks of all members, stacked by `torch.func`."""
    networks = [make_plain(setting).to(setting.device) for _ in range(setting.members)]
    parameters, _ = stack_module_state(networks)
    one = networks[0].to("meta")
    del networks
    optimizer = AdamW(parameters.values(), lr=LR)

    def loss(member: dict[str, Tensor]) -> Tensor:
        return functional.cross_entropy(functional_call(one, member, (activations,)), labels)

    gradients = vmap(grad(loss))

    def step() -> None:
        detached = {name: parameter.detach() for name, parameter in parameters.items()}
        for name, gradient in gradients(detached).items():
            parameters[name].grad = gradient
        optimizer.step()
        optimizer.zero_grad()

    return step


def lora_step(setting: Setting, images: Tensor, labels: Tensor) -> Step:
    """LoRA through a live ViT with random weights. Of width 768 and depth 12 it is vit_base_patch16_224."""
    backbone: Any = VisionTransformer(
        img_size=PATCH * setting.grid,
        patch_size=PATCH,
        embed_dim=setting.width,
        depth=setting.depth,
        num_heads=max(1, setting.width // 64),
    ).requires_grad_(False)
    if setting.dtype == "bfloat16":
        # Frozen weights need no higher precision, and autocast would convert them in every step.
        backbone = backbone.to(torch.bfloat16)
    model = add_lora(backbone, rank=setting.rank, targets=TARGETS, num_classes=NUM_CLASSES, seed=0)
    trained = [weight for weight in model.to(setting.device).parameters() if weight.requires_grad]
    optimizer = AdamW(trained, lr=LR)

    def step() -> None:
        optimizer.zero_grad()
        with precision(setting.device, setting.dtype):
            scores = model(images)
        functional.cross_entropy(scores.float(), labels).backward()
        optimizer.step()

    return step


METHODS: dict[Method, Callable[[Setting, Tensor, Tensor], Step]] = {
    "factored": factored_step,
    "plain": plain_step,
    "vmap": vmap_step,
    "lora": lora_step,
}
