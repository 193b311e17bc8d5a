"""Servers of tar shards."""

import http.server
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a server that speaks S3 and has a bucket named ``bucket``."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3", endpoint_url=url).create_bucket(Bucket="bucket")
    yield url
    server.stop()


@pytest.fixture
def server(shards: Path) -> Iterator[Callable[[bool], str]]:
    """``server(ranges)``: URL of a server of the shards that answers requests for ranges, or does not."""
    servers: list[http.server.HTTPServer] = []

    def start(ranges: bool) -> str:
        class Handler(http.server.SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                data = (shards / self.path.strip("/")).read_bytes()
                asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
                if ranges and asked:
                    start, end = int(asked[1]), min(int(asked[2]) + 1, len(data))
                    self.send_response(206)
                    self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
                    data = data[start:end]
                else:
                    self.send_response(200)
                if ranges:
                    self.send_header("Accept-Ranges", "bytes")
                self.send_header("Content-Length", str(len(data)))
                self.send_header("ETag", "1")
                self.end_headers()
                self.wfile.write(data)

            def do_HEAD(self) -> None:
                self.send_response(200)
                if ranges:
                    self.send_header("Accept-Ranges", "bytes")
                self.send_header("Content-Length", str((shards / self.path.strip("/")).stat().st_size))
                self.send_header("ETag", "1")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        one = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(one)
        threading.Thread(target=one.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{one.server_port}"

    yield start
    for one in servers:
        one.shutdown()
        one.server_close()
