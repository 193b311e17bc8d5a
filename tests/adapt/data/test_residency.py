"""Where codes stay changes nothing but the time; what is chosen follows from sizes."""

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from losa.adapt import CachedActivations, MemberSummary, adapt
from losa.adapt.data.residency import choose_residency
from losa.adapt.data.resident_activations import load_codes
from losa.adapt.members.member_files import SUMMARY_NAME
from losa.cache_format import Cache, CorruptCache, LosaError
from losa.cache_format.codecs import CodecName
from losa.cache_format.reader import Split

KB = 1000
CUDA = pytest.param(
    "cuda",
    marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")],
)
CODES = "codes of 24 images of split 'train' (6.9 kB)"
INDICES = np.array([7, 0, 0, 3, 8])
LOADED = np.array([8, 0, 7, 3, 5])


@pytest.fixture
def split(toy_cache: Any, tmp_path: Path) -> Split:
    """24 images of 288 bytes: int8 codes with scales."""
    return Cache(replace(toy_cache, codec="int8").write(tmp_path / "cache")).split("train")


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """``free(ram, gpu)``: that many bytes are; asking for what is not given fails."""

    def set_free(ram: int | None = None, gpu: int | None = None) -> None:
        def of(known: int | None) -> int:
            assert known is not None
            return known

        monkeypatch.setattr("losa.adapt.data.residency.free_in_ram", lambda: of(ram))
        monkeypatch.setattr("losa.adapt.data.residency.free_on_gpu", lambda device: of(gpu))

    return set_free


class TestActivations:
    @pytest.mark.parametrize("device", ["cpu", CUDA])
    @pytest.mark.parametrize("place", ["ram", "gpu"])
    @pytest.mark.parametrize("store", ["zarr", "hdf5"])
    @pytest.mark.parametrize("compressor", [None, "zstd"])
    @pytest.mark.parametrize("codec", get_args(CodecName))
    def test_are_bit_for_bit_those_that_are_streamed(
        self,
        codec: CodecName,
        compressor: Any,
        store: Any,
        place: Any,
        device: str,
        toy_cache: Any,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        # place "gpu" is the memory of the compute device, which may be the CPU in a test.
        recipe = replace(toy_cache, codec=codec, store=store, compressor=compressor)
        cache = Cache(recipe.write(tmp_path / "cache"))
        for sites in ("all", ["embed", "block.02"], ["block.01"]):
            split = cache.split("val", sites)
            monkeypatch.setattr("losa.adapt.data.resident_activations.BATCH_BYTES", 2 * split.image_bytes + 1)
            streamed = CachedActivations(split, device)
            resident = load_codes(streamed, LOADED, place)
            found, expected = (source.read(INDICES).decode(slice(None)) for source in (resident, streamed))
            assert found.device == expected.device
            assert found.dtype == expected.dtype == torch.float32
            assert torch.equal(found, expected)
            assert resident.read(INDICES[:0]).decode(slice(None)).shape == (0, *split.image_shape)

    @pytest.mark.parametrize("place", ["ram", "gpu"])
    def test_a_batch_is_not_a_view_of_what_stays(self, place: Any, toy_cache: Any, tmp_path: Path) -> None:
        # With float32 there is nothing to decode, and no copy is made for it.
        split = Cache(toy_cache.write(tmp_path / "cache")).split("val")
        streamed = CachedActivations(split, "cpu")
        for source in (streamed, load_codes(streamed, LOADED, place)):
            first = source.read(INDICES).decode(slice(None))
            kept = first.clone()
            second = source.read(INDICES[::-1].copy()).decode(slice(None))
            assert torch.equal(first, kept)
            first.zero_()
            second.zero_()
            assert torch.equal(source.read(INDICES).decode(slice(None)), kept)

    @pytest.mark.parametrize("place", ["ram", "gpu"])
    def test_the_cache_is_read_once_in_row_order(
        self, place: Any, split: Split, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        requested: list[list[int]] = []
        read = split.read

        def recording(indices: np.ndarray, *rest: Any) -> Any:
            requested.append(indices.tolist())
            return read(indices, *rest)

        monkeypatch.setattr(split, "read", recording)
        monkeypatch.setattr("losa.adapt.data.resident_activations.BATCH_BYTES", 4 * split.image_bytes)
        resident = load_codes(CachedActivations(split, "cpu"), np.array([20, 1, 0, 23, 9, 4]), place)
        assert [batch for batch in requested if batch] == [[0, 1, 4, 9], [20, 23]]
        before = len(requested)
        resident.read(np.array([23, 0]))
        assert len(requested) == before

    @pytest.mark.parametrize("place", ["ram", "gpu"])
    @pytest.mark.parametrize("wrong", [2, -1, 24])
    def test_of_images_that_were_not_loaded(self, wrong: int, place: Any, split: Split) -> None:
        resident = load_codes(CachedActivations(split, "cpu"), LOADED, place)
        with pytest.raises(IndexError, match=f"{wrong}"):
            resident.read(np.array([0, wrong]))

    @pytest.mark.parametrize("place", ["ram", "gpu"])
    def test_damage_is_found_while_loading(self, place: Any, split: Split) -> None:
        (shard,) = split.cache.path.glob("arrays.zarr/segments/train/codes/c.1.0.0.0")
        shard.write_bytes(bytes(byte ^ 255 for byte in shard.read_bytes()))
        with pytest.raises(CorruptCache, match="expected crc32c"):
            load_codes(CachedActivations(split, "cpu"), LOADED, place)


class TestAuto:
    @pytest.mark.parametrize(("gpu", "expected"), [(14 * KB, "gpu"), (13 * KB, "stream")])
    def test_on_a_gpu_what_takes_no_more_than_half(
        self, gpu: int, expected: str, split: Split, free: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        free(gpu=gpu)
        assert choose(split, "auto", device="cuda:1") == expected
        assert caplog.messages == [
            f"residency=gpu: {CODES} stay on the GPU; 14.0 kB are free there"
            if expected == "gpu"
            else f"residency=stream: {CODES} are read from the cache in every epoch; the "
            "cache is local and not compressed, so they are read at the speed of memory"
        ]

    def test_a_local_cache_without_compression_is_streamed(self, split: Split, free: Any) -> None:
        free()
        assert choose(split, "auto") == "stream"

    @pytest.mark.parametrize("device", ["cpu", "cuda"])
    @pytest.mark.parametrize(
        ("ram", "expected", "told"),
        [
            (14 * KB, "ram", "stay in memory; {}, and 14.0 kB of memory are free"),
            (
                13 * KB,
                "stream",
                "are read from the cache in every epoch; {}, but only 13.0 kB of memory are free",
            ),
        ],
    )
    @pytest.mark.parametrize("kind", ["compressed", "remote"])
    def test_what_costs_much_to_read_again_stays_in_memory(
        self,
        kind: str,
        ram: int,
        expected: str,
        told: str,
        device: str,
        split: Split,
        free: Any,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        caplog.set_level(logging.INFO)
        free(ram=ram, gpu=0)
        if kind == "remote":
            monkeypatch.setattr("losa.adapt.data.residency.is_remote", lambda path: True)
        else:
            compressed = replace(split.cache.manifest, compressor="zstd")
            split.cache.metadata = replace(split.cache.metadata, manifest=compressed)
        assert choose(split, "auto", device=device) == expected
        why = "the cache is remote" if kind == "remote" else "the cache is compressed (zstd)"
        assert caplog.messages == [f"residency={expected}: {CODES} {told.format(why)}"]

    def test_what_is_read_once_is_streamed(self, split: Split, free: Any) -> None:
        free()
        assert choose(split, "auto", device="cuda", epochs=1) == "stream"


class TestForced:
    @pytest.mark.parametrize(
        ("requested", "device"),
        [("stream", "cpu"), ("stream", "cuda"), ("ram", "cpu"), ("ram", "cuda"), ("gpu", "cuda")],
    )
    def test_what_is_possible_is_done(
        self, requested: Any, device: str, split: Split, free: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        free(ram=7 * KB, gpu=7 * KB)
        assert choose(split, requested, device=device) == requested
        (told,) = caplog.messages
        assert told.startswith(f"residency={requested}: {CODES} ")
        assert told.endswith("; as requested")

    def test_gpu_without_gpu(self, split: Split) -> None:
        with pytest.raises(LosaError) as error:
            choose(split, "gpu")
        assert str(error.value) == (
            "residency=gpu: expected a CUDA device, found device=cpu: use device=cuda where there is one, or "
            "residency=auto"
        )

    @pytest.mark.parametrize(("requested", "where"), [("ram", "in memory"), ("gpu", "on cuda:1")])
    def test_what_does_not_fit(self, requested: Any, where: str, split: Split, free: Any) -> None:
        free(ram=6 * KB, gpu=6 * KB)
        with pytest.raises(LosaError) as error:
            choose(split, requested, device="cuda:1")
        assert str(error.value) == (
            f"residency={requested}: {split.cache.path}: {CODES} do not fit: only 6.0 kB "
            f"are free {where}; use residency=auto or stream, or fewer sites (sites=4)"
        )


class TestAdapt:
    @pytest.fixture
    def run(self, toy_cache: Any, make_config: Any, tmp_path: Path) -> Callable[..., MemberSummary]:
        """``run(residency, **options)``: the summary of a member in a folder of its own."""
        bad = frozenset({"train/004.png", "test/000.png"})
        cache = replace(toy_cache, codec="int8", invalid=bad).write(tmp_path / "cache")

        def adapted(residency: str, **options: Any) -> dict[str, Any]:
            config = make_config(
                cache=str(cache),
                train_split="train",
                eval_split=["train", "test"],
                epochs=3,
                batch_size=8,
                residency=residency,
                **options,
            )
            return adapt(config, tmp_path / residency)

        return adapted

    @pytest.mark.parametrize("device", ["cpu", CUDA])
    def test_results_do_not_depend_on_it(self, device: str, run: Any, tmp_path: Path) -> None:
        places = ("stream", "ram") if device == "cpu" else ("stream", "ram", "gpu")
        summaries = [run(place, device=device) for place in places]
        assert [summary.residency for summary in summaries] == list(places)
        for place, summary in zip(places, summaries, strict=True):
            assert json.loads((tmp_path / place / SUMMARY_NAME).read_text())["residency"] == place
            for field in ("member", "accuracy", "train_loss", "images", "cache"):
                assert summary.to_json()[field] == summaries[0].to_json()[field], field

    @pytest.mark.parametrize(("residency", "kept"), [("auto", "ram"), ("stream", "stream")])
    def test_the_split_that_is_scored_in_every_epoch_is_kept_too(
        self,
        residency: str,
        kept: str,
        toy_cache: Any,
        make_config: Any,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        cache = replace(toy_cache, compressor="zstd").write(tmp_path / "cache")
        splits = {"train_split": "train", "val_split": "val", "eval_split": "test"}
        config = make_config(cache=str(cache), epochs=2, residency=residency, device="cpu", **splits)
        with caplog.at_level(logging.INFO):
            adapt(config, tmp_path / "member")
        told = [message.partition(" (")[0] for message in caplog.messages if message.startswith("residency=")]
        assert told == [
            f"residency={kept}: codes of {images} images of split '{split}'"
            for split, images in (("train", 24), ("val", 9))
        ]

    def test_a_member_finished_with_another_one_is_finished(self, run: Any, tmp_path: Path) -> None:
        first = run("stream")
        (tmp_path / "stream").rename(tmp_path / "auto")
        assert run("auto") == first

    def test_what_cannot_be_leaves_nothing_behind(self, run: Any, tmp_path: Path) -> None:
        with pytest.raises(LosaError, match="residency=gpu: expected a CUDA device"):
            run("gpu")
        assert not (tmp_path / "gpu").exists()


def choose(split: Split, requested: Any, device: str = "cpu", epochs: int = 20) -> str:
    return choose_residency(requested, split, images=len(split), epochs=epochs, device=device)
