import io
import threading
import time

import anyio
import httpx2
import pytest
from PIL import Image

from losa.cache_format import LosaError
from losa.pipelines.serve.prediction_service import MOST_REQUESTS


def test_about(client) -> None:
    assert client().get("/about").json() == {
        "backbone": "test_vit",
        "title": "2 side networks",
        "side_networks": ["linear-two", "losa-one"],
        "max_upload": 5_000,
    }


def test_bytes_and_a_form_get_what_the_classifier_says(client, classifier, photo: bytes) -> None:
    expected = [each.to_json() for each in classifier.predict([photo], 2)]
    body = client().post("/predict", content=photo)
    form = client().post("/predict", files={"anything": ("../../name.png", photo)}, data={"note": "x"})
    assert body.status_code == form.status_code == 200
    assert body.json() == form.json() == {"predictions": expected}


def test_another_number_of_classes(client, photo: bytes) -> None:
    answer = client().post("/predict?top=1", content=photo).json()
    assert [len(each["classes"]) for each in answer["predictions"]] == [1, 1]
    for top in ("0", "-1", "many", "1.5"):
        wrong = client().post("/predict", params={"top": top}, content=photo)
        assert wrong.status_code == 400
        assert wrong.json()["error"].startswith(f"top={top}: expected")


def test_an_unknown_option_is_refused(client, photo: bytes) -> None:
    wrong = client().post("/predict?tpo=1", content=photo)
    assert (wrong.status_code, wrong.json()["error"]) == (
        400,
        "there is no option 'tpo': expected none but top",
    )


@pytest.mark.parametrize("content", [b"hello", b"\x89PNG\r\n\x1a\n damaged"])
def test_what_is_no_image_is_told(client, content: bytes) -> None:
    answer = client().post("/predict", content=content)
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("the photo cannot be read: ")
    assert "image 0" not in answer.json()["error"]


def test_too_many_pixels_are_told(client) -> None:
    wide = io.BytesIO()
    Image.new("1", (400, 200)).save(wide, "PNG")
    answer = client().post("/predict", content=wide.getvalue())
    assert answer.status_code == 422
    assert "400 x 200 pixels are more than max_pixels=50000" in answer.json()["error"]


def test_too_little_memory_is_not_the_photos_fault(client, classifier, photo, monkeypatch) -> None:
    def hungry(images: object, top: int) -> None:
        raise LosaError("image 0: not enough memory")

    monkeypatch.setattr(classifier, "predict", hungry)
    answer = client().post("/predict", content=photo)
    assert (answer.status_code, answer.json()["error"][:17]) == (503, "too little memory")


@pytest.mark.parametrize(("site", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 200)])
def test_pages_of_other_sites_are_refused(client, photo: bytes, site: str, status: int) -> None:
    assert client().post("/predict", content=photo, headers={"Sec-Fetch-Site": site}).status_code == status


@pytest.fixture
def at_once(client, photo: bytes):
    """``at_once(n)``: the status of each of n requests that are sent together."""
    application = client().app

    def send(number: int) -> list[int]:
        statuses = []

        async def one(browser: httpx2.AsyncClient) -> None:
            statuses.append((await browser.post("/predict", content=photo)).status_code)

        async def all_of_them() -> None:
            transport = httpx2.ASGITransport(application)
            async with (
                httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as browser,
                anyio.create_task_group() as group,
            ):
                for _ in range(number):
                    group.start_soon(one, browser)

        anyio.run(all_of_them)
        return statuses

    return send


def test_photos_are_classified_one_at_a_time(at_once, classifier, monkeypatch) -> None:
    busy = threading.Lock()

    def predict(images: object, top: int) -> list[object]:
        assert busy.acquire(blocking=False)
        time.sleep(0.02)
        busy.release()
        return []

    monkeypatch.setattr(classifier, "predict", predict)
    assert at_once(4) == [200] * 4


def test_more_requests_than_may_wait_are_told_to_come_again(at_once, classifier, monkeypatch) -> None:
    monkeypatch.setattr(classifier, "predict", lambda images, top: time.sleep(0.02) or [])
    statuses = at_once(MOST_REQUESTS + 3)
    assert (statuses.count(200), statuses.count(503)) == (MOST_REQUESTS, 3)
    assert at_once(2) == [200, 200]
