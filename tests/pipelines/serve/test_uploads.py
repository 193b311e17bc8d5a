import tempfile
from collections.abc import Iterator

import pytest

FORM = {"Content-Type": "multipart/form-data; boundary=x"}


def error_of(answer, status: int) -> str:
    assert answer.status_code == status, answer.text
    error: str = answer.json()["error"]
    return error


def test_too_many_bytes_are_refused_by_their_declared_number(client) -> None:
    error = error_of(client().post("/predict", content=b"x" * 5_001), 413)
    assert error == "the photo is too large: expected at most 5,000 bytes (max_upload)"


def test_too_many_bytes_are_refused_while_they_arrive(client) -> None:
    taken = 0

    def chunks() -> Iterator[bytes]:
        nonlocal taken
        for _ in range(100):
            taken += 1
            yield b"x" * 1_000

    error_of(client().post("/predict", content=chunks()), 413)
    assert taken


def test_a_file_in_a_form_has_the_same_limit(client) -> None:
    error_of(client().post("/predict", files={"photo": b"x" * 5_001}), 413)
    error_of(client().post("/predict", files={"photo": b"x" * 5_000}), 422)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"content": b""}, "there is no photo"),
        ({"files": {"photo": b""}}, "there is no photo"),
        ({"files": {"a": b"x", "b": b"y"}}, "the form cannot be read: Too many files"),
        ({"content": b"nonsense", "headers": FORM}, "the form cannot be read"),
        ({"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}, "Missing boundary"),
        ({"content": b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--x--\r\n', "headers": FORM}, "no photo"),
    ],
)
def test_a_request_without_a_photo_is_told(client, request_, message: str) -> None:
    assert message in error_of(client().post("/predict", **request_), 400)


def test_nothing_is_written_to_the_disk(client, photo: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("a temporary file")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    large = photo + b"\0" * 2_000_000
    answer = client(max_upload=5_000_000).post("/predict", files={"photo": large})
    assert answer.status_code == 200
