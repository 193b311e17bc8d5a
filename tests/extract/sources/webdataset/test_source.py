import json
import pickle
import shutil
import unicodedata

import numpy as np
import pytest
from upath import UPath

from losa.cache_format import Cache, LosaError
from losa.cache_format.storage.byte_ranges import LocalRanges
from losa.extract import extract
from losa.extract.sources import InvalidImage

TRAIN = [f"train-000{shard}.tar/00{sample}.png" for shard in range(2) for sample in range(3)]


@pytest.fixture
def pictures(paint, tmp_path):
    """Bytes of two pictures."""
    return [paint(tmp_path / f"{seed}.png", seed).read_bytes() for seed in range(2)]


def test_every_image_is_there_once(shards, webdataset):
    source = webdataset(shards)
    assert source.splits == ("train", "test")
    assert source.contents("train").keys == TRAIN
    assert source.contents("train").labels["label"].tolist() == [0, 1, 2, 0, 1, 2]
    assert source.contents("test").labels["label"].tolist() == [0, 1]
    assert source.columns[0].num_classes == 3
    assert source.notes == ()
    everything = TRAIN + list(source.contents("test").keys)
    assert len({source.read(key) for key in everything}) == 8


def test_a_shard_in_two_splits_holds_the_same_images(shards, webdataset):
    source = webdataset(shards, shards={"train": "train-0000.tar", "all": "train-000{0..1}.tar"})
    assert source.splits == ("train", "all")
    assert source.contents("train").keys == TRAIN[:3]
    assert source.contents("all").keys == TRAIN


def test_only_the_bytes_of_the_image_are_read(shards, webdataset, monkeypatch):
    source = pickle.loads(pickle.dumps(webdataset(shards)))
    read = []
    fill = LocalRanges.fill
    monkeypatch.setattr(
        LocalRanges,
        "fill",
        lambda self, ranges: (
            read.extend((one.path.name, one.buffer.size) for one in ranges) or fill(self, ranges)
        ),
    )
    data = source.read(TRAIN[4])
    assert read == [("train-0001.tar", len(data))]
    assert data.startswith(b"\x89PNG")


def test_shards_behind_a_url_are_the_same(shards, webdataset):
    folder = UPath(f"memory://source/{shards.parent.name}")
    for file in shards.iterdir():
        folder.fs.pipe(f"{folder.path}/{file.name}", file.read_bytes())
    local, remote = webdataset(shards), pickle.loads(pickle.dumps(webdataset(str(folder))))
    assert remote.splits == local.splits
    for key in TRAIN:
        assert remote.read(key) == local.read(key)
    folder.fs.pipe(f"{folder.path}/train-0000.tar", b"cut off")
    with pytest.raises(
        LosaError, match=rf"train-0000\.tar: cannot read .* bytes at .*, where {TRAIN[0]} was"
    ):
        remote.read(TRAIN[0])


@pytest.mark.usefixtures("shapes_are_not_checked")
def test_workers_read_from_a_server(server, shards, config, tmp_path):
    caches = []
    for name, root in (("local", str(shards)), ("remote", server(True))):
        dataset = {"kind": "webdataset", "root": root, "index_folder": str(tmp_path / "indices")}
        names = {"train": "train-000{0..1}.tar", "test": "test-0000.tar"}
        settings = config(
            dataset=dataset | {"shards": names}, cache=str(tmp_path / f"caches/{name}"), workers=2
        )
        extract(settings)
        caches.append(Cache(settings.cache).split("train"))
    local, remote = (split.read(np.arange(6)) for split in caches)
    assert remote.values.tobytes() == local.values.tobytes()


def test_a_root_that_is_not_there_is_named(tmp_path, webdataset):
    with pytest.raises(LosaError, match=r"dataset\.root: there is no folder .*/nowhere"):
        webdataset(tmp_path / "nowhere")


def test_a_shard_that_vanished_does_not_make_its_images_invalid(shards, webdataset):
    source = webdataset(shards)
    shutil.rmtree(shards)
    with pytest.raises(LosaError, match=r"train-0000\.tar: cannot read .* may be whole") as caught:
        source.read(TRAIN[0])
    assert not isinstance(caught.value, InvalidImage)


def test_an_empty_image_is_empty(tmp_path, pack, webdataset, pictures):
    pack(tmp_path / "s/x.tar", {"1.png": b"", "2.png": pictures[0]})
    assert webdataset(tmp_path / "s").read("x.tar/1.png") == b""


def test_odd_names_are_keys(tmp_path, pack, webdataset, pictures):
    names = ["./a b/1 (2).png", "v1.0/x.png", unicodedata.normalize("NFD", "größe.png"), f"{'d' * 150}/1.png"]
    pack(tmp_path / "s/my shard.tar", {name: pictures[0] + bytes(row) for row, name in enumerate(names)})
    source = webdataset(tmp_path / "s")
    keys = source.contents("all").keys
    assert keys == [
        "my shard.tar/a b/1 (2).png",
        "my shard.tar/v1.0/x.png",
        "my shard.tar/größe.png",
        f"my shard.tar/{'d' * 150}/1.png",
    ]
    assert [len(source.read(key)) - len(pictures[0]) for key in keys] == [0, 1, 2, 3]


def test_two_spellings_of_a_shard_are_refused(tmp_path, pack, webdataset, pictures):
    for form in ("NFC", "NFD"):
        pack(tmp_path / f"s/{unicodedata.normalize(form, 'ä')}.tar", {"1.png": pictures[0]})
    with pytest.raises(LosaError, match="Unicode spellings"):
        webdataset(tmp_path / "s")


def test_empty_shards_are_told_and_keep_the_others_right(tmp_path, pack, webdataset, pictures):
    pack(tmp_path / "s/0.tar", {})
    pack(tmp_path / "s/1.tar", {"1.png": pictures[0], "1.cls": "0"})
    pack(tmp_path / "s/2.tar", {"README.txt": "x"})
    pack(tmp_path / "s/3.tar", {"1.png": pictures[1], "1.cls": "1"})
    source = webdataset(tmp_path / "s")
    assert [source.read(key) for key in source.contents("all").keys] == pictures
    assert source.notes == ("samples without an image are left out: 1", "shards without images: 0.tar, 2.tar")


def test_shards_without_any_image_are_refused(tmp_path, pack, webdataset):
    pack(tmp_path / "s/0.tar", {"1.txt": "x", "1.cls": "0"})
    with pytest.raises(LosaError, match=r"hold no images; fields of their samples: txt, cls"):
        webdataset(tmp_path / "s")


class TestLabels:
    @pytest.fixture
    def labelled(self, tmp_path, pack, webdataset, pictures):
        """``labelled(*samples, **fields)``: a shard for each sample, with an image and these members."""

        def make(*samples, **fields):
            shutil.rmtree(tmp_path / "s", ignore_errors=True)
            for number, others in enumerate(samples):
                members = {f"0.{field}": content for field, content in others.items()}
                pack(
                    tmp_path / f"s/{'val' if number > 1 else 'train'}-{number}.tar",
                    {"0.png": pictures[0]} | members,
                )
            return webdataset(tmp_path / "s", **fields)

        return make

    def _of(self, source, column="label"):
        return [label for split in source.splits for label in source.contents(split).labels[column].tolist()]

    def test_names_are_numbered_over_all_splits(self, labelled):
        source = labelled({"cls": "cat"}, {"cls": "dog"}, {"cls": "ant\n"}, {})
        assert source.columns[0].classes == ("ant", "cat", "dog")
        assert self._of(source) == [1, 2, 0, -1]

    def test_numbers_are_counted_over_all_splits(self, labelled):
        source = labelled({"cls": "1"}, {"cls": "-1"}, {"cls": "4"}, {})
        assert source.columns[0].num_classes == 5
        assert source.columns[0].classes is None
        assert self._of(source) == [1, -1, 4, -1]
        assert labelled({"cls": "1"}, num_classes=7).columns[0].num_classes == 7
        with pytest.raises(LosaError, match=r"num_classes=2 allows only 0 to 1"):
            labelled({"cls": "1"}, {"cls": "2"}, num_classes=2)

    def test_the_entry_label_of_json_is_the_label_where_there_is_no_cls(self, labelled):
        described = [{"json": json.dumps({"label": label, "caption": "x"})} for label in (3, 0, 1)]
        source = labelled(*described)
        assert self._of(source) == [3, 0, 1]
        assert source.notes == (
            "labels are the entry label of the members .json (dataset.label_fields=[json.label])",
        )
        assert self._of(labelled(*({**one, "cls": "2"} for one in described))) == [2, 2, 2]

    def test_several_label_columns(self, labelled):
        samples = [{"json": json.dumps({"kind": {"name": n}, "hue": h})} for n, h in (("a", 0), ("b", None))]
        source = labelled(*samples, label_fields=["json.kind.name", "json.hue"])
        assert [(column.name, column.num_classes) for column in source.columns] == [("name", 2), ("hue", 1)]
        assert self._of(source, "name") == [0, 1]
        assert self._of(source, "hue") == [0, -1]

    def test_text_is_a_label_if_it_is_told(self, labelled):
        source = labelled({"txt": "a red cat"}, {"txt": "dog"})
        assert self._of(source) == [-1, -1]
        assert source.columns[0].num_classes == 0
        (note,) = source.notes
        assert note.startswith("the samples have no labels in cls or json.label. Their fields: png, txt.")
        assert self._of(labelled({"txt": "a red cat"}, {"txt": "dog"}, label_fields=["txt"])) == [0, 1]

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            (["species"], r"no sample in .* has a label in 'species'; fields of the samples: png, cls"),
            (["cls", "txt"], r"no sample .* 'txt'"),
            (["cls", "cls"], r"two of them would be the label column 'label'"),
        ],
    )
    def test_fields_that_cannot_be_labels_are_refused(self, labelled, fields, message):
        with pytest.raises(LosaError, match=message):
            labelled({"cls": "1"}, label_fields=fields)

    def test_a_number_that_is_no_label_is_refused(self, labelled):
        with pytest.raises(LosaError, match=r"label: expected names .* found '-2'"):
            labelled({"cls": "1"}, {"cls": "-2"})


def test_labels_are_int64(shards, webdataset):
    assert webdataset(shards).contents("test").labels["label"].dtype == np.int64
