import hashlib

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from losa.cache_format.common.hashes import hash_array, hash_keys

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


def test_hashes_of_format_version_1_never_change():
    assert hash_keys(["a/1.png", "ü"]) == "ed59d1dafeded64abcc94b818260f27ee9f389a649d229354a9f78bf8c3a3364"
    assert hash_array(np.array([[1, 2, 3]], np.float32)) == (
        "59cc5534270231401bd653fbceef7d8a1b832e04adc43d113afd905eb33dba11"
    )


@given(st.lists(TEXT), st.lists(TEXT))
@settings(deadline=None)
def test_lists_of_keys_collide_only_when_equal(left, right):
    assert (hash_keys(left) == hash_keys(right)) == (left == right)


def test_many_keys_are_hashed_one_after_another():
    keys = [f"{number}/ü.jpg" * (number % 3) for number in range(10_000)]
    digest = hashlib.sha256()
    for key in keys:
        digest.update(len(key.encode()).to_bytes(8, "little") + key.encode())
    assert hash_keys(iter(keys)) == digest.hexdigest()


def test_moving_the_border_between_keys_or_their_order_changes_the_hash():
    lists = [["ab", "c"], ["a", "bc"], ["abc"], ["abc", ""], ["", "abc"], ["c", "ab"], []]
    assert len({hash_keys(keys) for keys in lists}) == len(lists)


def test_arrays_are_hashed_by_value_not_by_memory():
    array = np.arange(24, dtype=np.float32).reshape(4, 6)
    same = [array.astype(">f4"), np.asfortranarray(array), np.repeat(array, 2, axis=1)[:, ::2]]
    assert {hash_array(other) for other in same} == {hash_array(array)}
    others = [array.reshape(6, 4), array.astype(np.float64), array.view(np.int32), array + 1, array[:2]]
    assert len({hash_array(other) for other in [array, *others]}) == 6
