"""The learner: what it sees, and that it learns."""

import torch

from losa.pipelines.pretraining.learner import MEAN, Learner
from losa.pipelines.pretraining.scenes import SceneDrawer


def learner() -> Learner:
    torch.manual_seed(0)
    return Learner(figures=3, textures=2)


def test_the_backbone_is_small() -> None:
    assert sum(parameter.numel() for parameter in learner().backbone.parameters()) == 1_874_080


def test_dropped_patches_are_not_seen() -> None:
    scenes = SceneDrawer(figures=3, textures=2, side=32, seed=0).draw(0, 2)
    kept = torch.tensor([[0, 9, 63], [8, 1, 5]])
    model = learner()
    before = model.losses(scenes, kept)
    scenes.images[0, :, :4, 4:8] = MEAN  # patch 1, which the second image alone keeps
    same = model.losses(scenes, kept)
    assert torch.equal(same.total, before.total)
    scenes.images[1, :, :4, 4:8] = MEAN
    assert not torch.equal(model.losses(scenes, kept).total, before.total)


def test_every_task_is_learnt_from_one_batch() -> None:
    scenes = SceneDrawer(figures=3, textures=2, side=32, seed=0).draw(0, 4)
    kept = torch.arange(64).expand(4, -1)
    model = learner()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    first = model.losses(scenes, kept)
    for _ in range(12):
        optimizer.zero_grad()
        model.losses(scenes, kept).total.backward()
        optimizer.step()
    last = model.losses(scenes, kept)
    assert first.parts.keys() == {"figure", "texture", "ground", "pose", "outline", "mask"}
    for task, loss in last.parts.items():
        assert loss < first.parts[task], task


def test_tokens_attend_to_neighbours_from_the_start() -> None:
    """Of plain positions, a token is most like itself, and more like its neighbours than like others."""
    model = learner().backbone
    positions = model.pos_embed[0]
    queries, keys, _ = model.blocks[0].attn.qkv(positions).chunk(3, dim=-1)
    likeness = queries @ keys.T
    middle = 3 * 8 + 3
    assert likeness[middle].argmax() == middle
    assert likeness[middle, middle + 1] > likeness[middle, middle + 4]
