import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from losa.cache_format import CorruptCache
from losa.cache_format.storage.sealed_json import canonical, seal, unseal, unseal_encoded

HERE = Path("cache/record.json")
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=10,
)
RECORD = {
    "name": "träin \U0001f40d",
    "images": 1234567890,
    "ratio": -0.875,
    "tiny": 1e-05,
    "flags": [True, False, None],
    "nested": {"a": "0f9c", "b": [{"deep": "x\ty\u0001"}, {}]},
    "empty": "",
}


@given(st.dictionaries(TEXT.filter(lambda key: key != "record_crc32c"), VALUES, max_size=5))
@settings(deadline=None)
def test_what_is_sealed_is_unsealed(content):
    assert canonical(unseal(seal(content), HERE)) == canonical(content)
    assert unseal_encoded(seal(content), HERE).encoding == canonical(content)


def test_a_sealed_record_is_readable_json_with_the_checksum_last():
    sealed = seal({"b": 1, "a": "ü"})
    assert sealed == b'{\n  "b": 1,\n  "a": "\xc3\xbc",\n  "record_crc32c": "298cca1a"\n}\n'
    assert canonical({"b": [1, 2.0], "a": "ü"}) == b'{"a":"\xc3\xbc","b":[1,2.0]}'


def _values(data: bytes) -> set[int]:
    """Places of the bytes that have a meaning: all except white space between tokens."""
    inside, escaped, places = False, False, set()
    for place, byte in enumerate(data):
        if inside or byte not in b" \n":
            places.add(place)
        if byte == ord('"') and not escaped:
            inside = not inside
        escaped = inside and byte == ord("\\") and not escaped
    return places


def test_every_single_bit_flip_is_detected():
    sealed = seal(RECORD)
    missed = []
    for place in _values(sealed):
        for bit in range(8):
            damaged = bytearray(sealed)
            damaged[place] ^= 1 << bit
            try:
                unseal(bytes(damaged), HERE)
            except CorruptCache as error:
                assert str(HERE) in str(error)  # noqa: PT017 -- most of 2,000 flips raise, not all
            else:
                missed.append(bytes(damaged[place - 1 : place + 4]))
    # The only flip that changes no value.
    assert missed == [b"1E-05"]


def test_flips_between_values_change_nothing_or_are_detected():
    sealed = seal(RECORD)
    for place in set(range(len(sealed))) - _values(sealed):
        for bit in range(8):
            damaged = bytearray(sealed)
            damaged[place] ^= 1 << bit
            with suppress(CorruptCache):
                assert unseal(bytes(damaged), HERE) == RECORD


def test_every_truncation_is_detected():
    sealed = seal(RECORD).rstrip()
    for length in range(len(sealed)):
        with pytest.raises(CorruptCache, match=r"cache/record\.json"):
            unseal(sealed[:length], HERE)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\xff",
        b"[]",
        b"[1, 2]",
        b"null",
        b"3",
        b'"text"',
        b"{}",
        b'{"a": 1}',
        b'{"a": NaN, "record_crc32c": "00000000"}',
        b'{"a": "\\ud800", "record_crc32c": "00000000"}',
        b'{"a": ' + b"9" * 5000 + b', "record_crc32c": "00000000"}',
        b"[" * 100_000,
    ],
    ids=lambda data: repr(data[:20]),
)
def test_what_is_no_sealed_record_is_corrupt(data):
    with pytest.raises(CorruptCache, match=r"^cache/record\.json: not a sealed JSON record"):
        unseal(data, HERE)


def test_an_edit_by_hand_is_refused_with_both_checksums():
    sealed = seal({"rows": 3})
    found = json.loads(sealed)["record_crc32c"]
    expected = json.loads(seal({"rows": 4}))["record_crc32c"]
    with pytest.raises(CorruptCache) as caught:
        unseal(sealed.replace(b"3,", b"4,"), HERE)
    assert str(caught.value) == (
        f"{HERE}: damaged or edited by hand: its checksum is {found!r}, that of its content {expected!r}"
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800"])
def test_what_json_cannot_hold_is_never_written(value):
    with pytest.raises(ValueError):
        seal({"a": value})


@pytest.mark.parametrize("data", [b"{}", b"[]", b"null"])
def test_a_missing_seal_is_named(data):
    with pytest.raises(CorruptCache, match=r"expected an object with its checksum in 'record_crc32c'$"):
        unseal(data, HERE)
