import pickle

from losa.cache_format import IdentityMismatch
from losa.cache_format.errors import Difference


def test_mismatch_lists_every_field_in_columns(tmp_path):
    found = [Difference("codec", "int8", "float16"), Difference("backbone.depth", 12, 24)]
    error = IdentityMismatch(tmp_path, found, "Choose another.")
    assert error.differences == tuple(found)
    assert str(error).splitlines() == [
        f"{tmp_path} is a cache of something else:",
        "  codec           expected 'int8', found 'float16'",
        "  backbone.depth  expected 12, found 24",
        "Choose another.",
    ]
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.differences, copy.path) == (str(error), error.differences, tmp_path)
