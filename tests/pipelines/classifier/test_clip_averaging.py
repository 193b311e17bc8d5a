import torch

from losa.adapt.trained.scoring import ScoredBatch
from losa.cache_format import LabelColumn
from losa.cache_format.clips import all_clips
from losa.pipelines.classifier.clip_averaging import averaged

PET, COLOUR = LabelColumn(name="pet", num_classes=3), LabelColumn(name="colour", num_classes=2)
COLUMNS = [(PET, COLOUR), (PET,)]


def keys_of(*videos):
    return [clip.key(video) for video in videos for clip in all_clips(2, 2)]


def batches(keys, size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    scores = [torch.randn(len(keys), width, generator=generator) for width in (5, 3)]
    parts = [range(start, min(start + size, len(keys))) for start in range(0, len(keys), size)]
    return scores, [
        ScoredBatch([keys[row] for row in part], tuple(each[part.start : part.stop] for each in scores))
        for part in parts
    ]


def test_probabilities_of_each_column_are_averaged_over_clips_whatever_the_batches():
    keys = keys_of("a.mp4", "b.mp4", "c.mp4")
    for size in (1, 3, 4, 5, 12):
        scores, given = batches(keys, size)
        found = list(averaged(given, COLUMNS, clips=4))
        assert [key for batch in found for key in batch.keys] == ["a.mp4", "b.mp4", "c.mp4"]
        joint = torch.cat([batch.scores[0] for batch in found])
        alone = torch.cat([batch.scores[1] for batch in found])
        for part, columns in ((joint[:, :3], slice(0, 3)), (joint[:, 3:], slice(3, 5))):
            expected = scores[0][:, columns].softmax(-1).view(3, 4, -1).mean(1)
            torch.testing.assert_close(part.softmax(-1), expected)
            torch.testing.assert_close(part.exp(), expected)
        torch.testing.assert_close(alone.exp(), scores[1].softmax(-1).view(3, 4, -1).mean(1))


def test_a_video_with_a_clip_missing_is_left_out():
    keys = keys_of("a.mp4", "b.mp4", "c.mp4")
    del keys[5]
    _, given = batches(keys, 3)
    found = list(averaged(given, COLUMNS, clips=4))
    assert [key for batch in found for key in batch.keys] == ["a.mp4", "c.mp4"]


def test_nothing_comes_of_nothing():
    assert list(averaged([], COLUMNS, clips=4)) == []
