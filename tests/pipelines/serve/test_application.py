import re

import pytest

from losa.pipelines.serve.headers import HEADERS


@pytest.mark.parametrize(
    ("path", "kind", "content"),
    [
        ("/", "text/html", "Drop a photo"),
        ("/page.css", "text/css", "--paper"),
        ("/page.js", "text/javascript", "fetch("),
        ("/icon.svg", "image/svg+xml", "<svg"),
    ],
)
def test_the_page_and_its_files(client, path: str, kind: str, content: str) -> None:
    answer = client().get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(kind)
    assert content in answer.text


def test_the_page_names_only_files_that_are_served_and_nothing_elsewhere(client) -> None:
    browser = client()
    named = re.findall(r'(?:href|src)="([^"]+)"', browser.get("/").text)
    assert len(named) == 3
    for name in named:
        text = browser.get(f"/{name}").text
        assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text), name


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "/../conf.py", "/..%2f..%2fconfig.py", "/page/index.html", "/prediction_service.py", "/page.js/"]
)
def test_no_other_path_leads_to_a_file(client, path: str) -> None:
    answer = client().get(path, follow_redirects=False)
    assert answer.status_code in (307, 404)
    if answer.status_code == 404:
        assert answer.json() == {"error": "Not Found"}


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/", 200), ("GET", "/x", 404), ("POST", "/", 405)])
def test_every_answer_has_the_headers(client, method: str, path: str, status: int) -> None:
    answer = client().request(method, path)
    assert answer.status_code == status
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS


def test_scripts_and_styles_stand_in_files(client) -> None:
    """The policy would not run others."""
    assert "unsafe" not in HEADERS["Content-Security-Policy"]
    assert not re.search(r"<style|style=|<script>|\son\w+=", client().get("/").text)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example"])
def test_names_of_other_machines_are_refused_on_this_machine_only(client, host: str) -> None:
    assert client().get("/", headers={"Host": host}).status_code == 400
    assert client(local=False).get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "[::1]:8000"])
def test_names_of_this_machine(client, host: str) -> None:
    assert client().get("/", headers={"Host": host}).status_code == 200
