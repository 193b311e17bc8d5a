"""LoRA added to a toy transformer."""

import pytest
import timm
import torch

from losa.cache_format import LosaError
from losa.pipelines.bench.live.lora import add_lora, merged


def test_only_updates_and_head_are_trained_and_updates_start_at_zero():
    pytest.importorskip("peft")
    backbone = timm.create_model("test_vit", pretrained=False).eval().requires_grad_(False)
    images = torch.randn(2, 3, 160, 160)
    cls = backbone.forward_features(images)[:, 0]
    model = add_lora(backbone, rank=2, targets=["qkv"], num_classes=5, seed=0)
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    assert all("lora_" in name or "head" in name for name in trained)
    width, depth = cls.shape[1], len(backbone.blocks)
    assert (
        sum(weight.numel() for weight in trained.values())
        == depth * 2 * (width + 3 * width) + (width + 1) * 5
    )
    (head_weight,) = (
        weight for name, weight in trained.items() if name.endswith("head.modules_to_save.default.weight")
    )
    torch.testing.assert_close(model(images), cls @ head_weight.T)


def test_merged_updates_give_the_same_scores_from_the_backbone_alone():
    pytest.importorskip("peft")
    backbone = timm.create_model("test_vit", pretrained=False).eval()
    model = add_lora(backbone, rank=2, targets=["qkv"], num_classes=5, seed=0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.1)
    images = torch.randn(2, 3, 160, 160)
    scores = model(images)
    used = merged(model)
    torch.testing.assert_close(used(images), scores, rtol=1e-3, atol=1e-4)
    assert not any("lora" in name for name, _ in used.named_parameters())
    plain = torch.nn.Identity()
    assert merged(plain) is plain


def test_missing_peft_is_told(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    with pytest.raises(LosaError, match=r"pip install 'losa\[bench\]'"):
        add_lora(torch.nn.Identity(), rank=2, targets=["qkv"], num_classes=2, seed=0)
