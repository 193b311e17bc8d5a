import pytest
import timm

from losa.extract.weights import backbone_tensors, hash_weights, head_names


@pytest.mark.parametrize("name", ["test_vit", "deit_tiny_distilled_patch16_224"])
def test_the_weights_hash_is_of_every_tensor_but_the_heads(name, toy_model):
    model = toy_model(name)
    expected = hash_weights(model)
    assert expected == hash_weights(toy_model(name))
    heads = [key for key in model.state_dict() if key.startswith("head")]
    assert len(heads) == (4 if "distilled" in name else 2)
    for key, tensor in model.state_dict().items():
        before = tensor.clone()
        tensor.view(-1)[-1] += 1e-3
        assert (hash_weights(model) == expected) == (key in heads), key
        tensor.copy_(before)
    assert hash_weights(model) == expected
    assert hash_weights(toy_model(name, num_classes=7)) == hash_weights(toy_model(name, num_classes=0))


def test_the_weights_hash_sees_swapped_tensors_and_another_dtype(toy_model):
    model = toy_model("test_vit")
    expected = hash_weights(model)
    first, second = model.blocks[0], model.blocks[1]
    model.blocks[0], model.blocks[1] = second, first
    assert hash_weights(model) != expected
    assert hash_weights(toy_model("test_vit").bfloat16()) != expected


def test_the_hash_of_given_weights_never_changes():
    """Or caches could not be resumed."""
    model = timm.create_model("test_vit")
    for number, (_, tensor) in enumerate(sorted(model.state_dict().items())):
        tensor.fill_(number / 8)
    assert hash_weights(model) == "c8970b43c60d420148c83a5bd738511d5a5a4a94f506f1297c04146b187e5735"


def test_what_is_beside_the_classifier_in_a_head_is_of_the_head(toy_model):
    model = toy_model("test_convnext")
    assert head_names(model) == {"head"}
    assert {"head.norm.weight", "head.fc.weight"} <= model.state_dict().keys()
    assert not any(name.startswith("head") for name in backbone_tensors(model))
    assert hash_weights(toy_model("test_convnext", num_classes=3)) == hash_weights(model)
