import dataclasses

import pytest
from pydantic import ValidationError

from losa.cache_format.common.comparison import differences
from losa.cache_format.errors import Difference
from losa.cache_format.identity import BackboneIdentity, FinalNorm, FrameSampling, SiteGroup, TokenLayout


def test_tokens_are_counted_frame_by_frame():
    layout = TokenLayout(cls=1, registers=4, grid=(3, 5), frames=7)
    assert layout.prefix == 5
    assert layout.count == 7 * (5 + 15)


CHANGES = {
    "backbone.name": lambda f: dataclasses.replace(f.backbone, name="vit_other"),
    "backbone.weights_sha256": lambda f: dataclasses.replace(f.backbone, weights_sha256="00" * 32),
    "backbone.depth": lambda f: dataclasses.replace(f.backbone, depth=7),
    "backbone.architecture": lambda f: dataclasses.replace(f.backbone, architecture="vit_nano"),
    "backbone.arguments.depth": lambda f: dataclasses.replace(f.backbone, arguments={"depth": 6}),
    "preprocessing.input_size": lambda f: dataclasses.replace(f.preprocessing, input_size=(3, 16, 32)),
    "preprocessing.interpolation": lambda f: dataclasses.replace(f.preprocessing, interpolation="nearest"),
    "preprocessing.mean": lambda f: dataclasses.replace(f.preprocessing, mean=(0.5, 0.25, 0.126)),
    "preprocessing.std": lambda f: dataclasses.replace(f.preprocessing, std=(0.1, 0.2, 0.4)),
    "preprocessing.crop_pct": lambda f: dataclasses.replace(f.preprocessing, crop_pct=1.0),
    "preprocessing.crop_mode": lambda f: dataclasses.replace(f.preprocessing, crop_mode="squash"),
    "site_groups[0].sites": lambda f: (dataclasses.replace(f.group, sites=f.group.sites[::-1]),),
    "site_groups[0].width": lambda f: (dataclasses.replace(f.group, width=8),),
    "site_groups[0].tokens.registers": lambda f: (
        dataclasses.replace(f.group, tokens=TokenLayout(cls=1, registers=0, grid=(2, 1))),
    ),
    "site_groups[0].tokens.frames": lambda f: (
        dataclasses.replace(f.group, tokens=TokenLayout(cls=1, registers=1, grid=(2, 1), frames=2)),
    ),
    "site_groups[0].tokens.pooled_from": lambda f: (
        dataclasses.replace(f.group, tokens=dataclasses.replace(f.group.tokens, pooled_from=(4, 1))),
    ),
    "compute_dtype": lambda _: "bfloat16",
    "codec": lambda _: "float16",
    "final_norm.eps": lambda _: FinalNorm(kind="layer_norm", eps=1e-5),
    "final_norm.kind": lambda _: FinalNorm(kind="rms_norm", eps=1e-6),
    "constants.spread": lambda f: f.constants | {"spread": "0f" * 32},
}


@pytest.mark.parametrize("field", CHANGES)
def test_every_field_counts_and_is_named(recipe, field):
    features = recipe.features
    top = field.partition(".")[0].removesuffix("[0]")
    other = dataclasses.replace(features, **{top: CHANGES[field](features)})
    assert other.sha256 != features.sha256
    found = differences(features, other)
    assert [difference.field for difference in found] == [field]
    assert found[0].expected != found[0].found
    assert differences(other, features) == [Difference(field, found[0].found, found[0].expected)]


def test_how_frames_are_chosen_counts(recipe):
    def sampled(**sampling):
        preprocessing = dataclasses.replace(recipe.features.preprocessing, sampling=FrameSampling(**sampling))
        return dataclasses.replace(recipe.features, preprocessing=preprocessing)

    clips = [sampled(frames=4), sampled(frames=8), sampled(frames=4, stride=1), sampled(frames=4, stride=2)]
    assert len({features.sha256 for features in (recipe.features, *clips)}) == 5
    assert differences(clips[2], clips[3]) == [Difference("preprocessing.sampling.stride", 1, 2)]


def test_fields_that_were_added_later_do_not_change_the_hash(recipe):
    backbone = dataclasses.replace(recipe.features.backbone, architecture=None, arguments={})
    assert dataclasses.replace(recipe.features, backbone=backbone).sha256 == recipe.features.sha256


def test_equal_identities_have_no_differences(recipe, tiny):
    assert differences(recipe.features, tiny.Recipe().features) == []
    assert recipe.features.sha256 == tiny.Recipe().features.sha256


def test_the_hash_of_an_identity_never_changes(tiny):
    features = tiny.Recipe(codec="bfloat16").features
    constants = {"final_norm.weight": "ab" * 32}
    assert dataclasses.replace(features, constants=constants).sha256 == (
        "6c0c83d36de9adbf3ef4afce7085400528095abe33900dbeaae2b0be07960f8b"
    )


@pytest.mark.parametrize(
    ("build", "field"),
    [
        (lambda _: BackboneIdentity(name="x", weights_sha256="5A" * 32, depth=1), "weights_sha256"),
        (lambda _: BackboneIdentity(name="x", weights_sha256="5a" * 32, depth=0), "depth"),
        (lambda f: dataclasses.replace(f.preprocessing, std=(0.1, 0.2)), "expected 3 numbers each"),
        (lambda f: dataclasses.replace(f, codec_parameters={"levels": 3}), "codec_parameters"),
        (lambda f: dataclasses.replace(f, constants={"zarr.json": "00" * 32}), "a file of the cache's own"),
        (lambda _: TokenLayout(cls=-1, registers=0, grid=(1, 1)), "cls"),
        (lambda _: TokenLayout(cls=0, registers=0, grid=(0, 1)), "grid"),
        (lambda _: TokenLayout(cls=0, registers=0, grid=(1, 1), frames=0), "frames"),
        (
            lambda _: TokenLayout(cls=0, registers=0, grid=(7, 7), pooled_from=(14, 16)),
            "a grid of 7 x 7 is not pooled from 14 x 16: expected a smaller one, whose sides divide these",
        ),
        (lambda _: TokenLayout(cls=0, registers=0, grid=(7, 7), pooled_from=(7, 7)), "is not pooled from"),
        (lambda _: TokenLayout(cls=0, registers=0, grid=(7, 7), pooled_from=(14, 0)), "pooled_from"),
        (lambda f: SiteGroup(sites=(), tokens=f.group.tokens, width=1), "sites"),
        (lambda f: SiteGroup(sites=("a", "b", "a"), tokens=f.group.tokens, width=1), "not unique: a, b, a"),
        (lambda _: FinalNorm(kind="layer_norm", eps=0.0), "eps"),
        (lambda _: FinalNorm(kind="batch_norm", eps=0.1), "kind"),
        (lambda f: dataclasses.replace(f, codec="int3"), "codec"),
        (lambda f: dataclasses.replace(f, norm_applied=True), "norm_applied"),
        (lambda f: dataclasses.replace(f, views=2), "views"),
        (lambda f: dataclasses.replace(f, site_groups=f.site_groups * 2), "site_groups"),
        (lambda f: dataclasses.replace(f, constants={"../x": "00" * 32}), "constants"),
        (lambda f: dataclasses.replace(f, constants={"x": "00"}), "constants"),
        (lambda f: dataclasses.replace(f, surprise=1), "surprise"),
    ],
)
def test_an_invalid_identity_cannot_be_built(recipe, build, field):
    with pytest.raises((ValidationError, TypeError), match=field):
        build(recipe.features)
