import errno
import fcntl
import json
import os
import platform
import re
import threading
import time
import uuid

import pytest
from botocore.exceptions import EndpointConnectionError
from upath import UPath

from losa.cache_format import CacheError, CacheInUse
from losa.cache_format.storage import lock as lock_module
from losa.cache_format.storage.lock import LEASE_SECONDS, LOCK_NAME, FileLock, Lease, writer_lock


@pytest.fixture
def bucket():
    """A folder in a bucket in the memory of this process."""
    folder = UPath(f"memory://{uuid.uuid4().hex}/cache")
    yield folder
    for name in folder.fs.find(folder.path):
        folder.fs.rm_file(name)


@pytest.fixture
def take():
    """``take(folder)``: a lease that is released when the test ends."""
    taken = []

    def take(folder: UPath) -> Lease:
        taken.append(writer_lock(folder))
        return taken[-1]

    yield take
    for lease in taken:
        lease.release()
    assert not [thread for thread in threading.enumerate() if thread.name == "losa-lease"]


def said(bucket: UPath) -> dict:
    return json.loads((bucket / LOCK_NAME).read_bytes())


def say(bucket: UPath, **changes) -> None:
    content = {"token": "another", "process": 4711, "host": "elsewhere", "renewed": time.time()}
    (bucket / LOCK_NAME).write_bytes(json.dumps(content | changes).encode())


def test_a_lease_names_its_writer_and_goes_when_it_is_released(bucket, take):
    lease = take(bucket)
    lease.check()
    assert said(bucket)["process"] == os.getpid()
    assert said(bucket)["host"] == platform.node()
    assert abs(said(bucket)["renewed"] - time.time()) < 5
    lease.release()
    assert not (bucket / LOCK_NAME).exists()
    take(bucket).check()


def test_a_second_writer_is_told_who_writes_and_how_long_to_wait(bucket, take):
    lease = take(bucket)
    with pytest.raises(CacheInUse) as caught:
        take(bucket)
    assert str(caught.value) == (
        f"{bucket} is written to by process {os.getpid()} on {platform.node()}, last seen 0 s ago: wait for "
        "it, or choose another folder. If it was killed, its lock ends 300 s from now"
    )
    lease.check()


def test_the_lease_of_a_dead_writer_is_taken_over(bucket, take):
    say(bucket, renewed=time.time() - LEASE_SECONDS + 20)
    with pytest.raises(
        CacheInUse, match=r"process 4711 on elsewhere, last seen 280 s ago.* ends 20 s from now"
    ):
        take(bucket)
    say(bucket, renewed=time.time() - LEASE_SECONDS - 1)
    take(bucket).check()
    assert said(bucket)["process"] == os.getpid()


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b"null", b"\xff", b"[" * 10**5, b'{"renewed": null}', b'{"renewed": "soon"}'],
)
def test_something_else_in_the_place_of_a_lease_does_not_bar_the_way(bucket, take, content):
    (bucket / LOCK_NAME).write_bytes(content)
    take(bucket).check()


def test_a_writer_that_was_taken_for_dead_stops_and_leaves_the_new_one_its_lease(bucket, take):
    lease = take(bucket)
    say(bucket)
    with pytest.raises(CacheInUse) as caught:
        lease.check()
    assert str(caught.value) == (f"{bucket} was taken over by process 4711 on elsewhere; this one stops")
    lease.release()
    assert said(bucket)["token"] == "another"


def test_of_two_that_begin_at_once_one_stops(bucket, take, monkeypatch):
    """The second writer reads the lock before the first writes it, and writes its own afterwards."""
    first, look, looks = [], Lease._holder, []

    def looking(self):
        found = look(self)
        looks.append(self)
        if len(looks) == 1:
            first.append(take(bucket))
        return found

    monkeypatch.setattr(Lease, "_holder", looking)
    with pytest.raises(CacheInUse, match="was taken over by process"):
        take(bucket)
    first[0].check()


def wait_for_renewal(bucket):
    """At most four seconds."""
    began = said(bucket)["renewed"]
    for _ in range(200):
        time.sleep(0.02)
        if said(bucket)["renewed"] > began:
            break
    assert said(bucket)["renewed"] > began


def test_it_is_renewed_while_its_writer_lives(bucket, take, monkeypatch):
    monkeypatch.setattr(lock_module, "LEASE_SECONDS", 0.2)
    lease = take(bucket)
    wait_for_renewal(bucket)
    lease.check()


@pytest.mark.parametrize(
    "error", [OSError("no answer"), EndpointConnectionError(endpoint_url="no answer")], ids=["os", "botocore"]
)
def test_a_bucket_that_does_not_answer_once_is_asked_again(bucket, take, monkeypatch, caplog, error):
    monkeypatch.setattr(lock_module, "LEASE_SECONDS", 0.2)
    look, failures = Lease._holder, []

    def failing(self):
        if threading.current_thread().name == "losa-lease" and not failures:
            failures.append(self)
            raise error
        return look(self)

    monkeypatch.setattr(Lease, "_holder", failing)
    lease = take(bucket)
    wait_for_renewal(bucket)
    assert "the writer's lock could not be renewed: " in caplog.text
    assert "no answer" in caplog.text
    lease.check()


def test_a_local_lock_is_the_kernels(tmp_path):
    lock = writer_lock(tmp_path)
    assert isinstance(lock, FileLock)
    with pytest.raises(CacheInUse, match="another process is writing to"):
        writer_lock(tmp_path)
    lock.check()
    lock.release()
    writer_lock(tmp_path).release()


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def refuse(descriptor, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(CacheError) as caught:
        writer_lock(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} cannot be locked (No locks available): choose a file system that has locks"
    )


LIMITED = """
import resource, sys
from pathlib import Path
from losa.cache_format import CacheError
from losa.cache_format.storage.lock import OTHER_FILES, FileLock, allow_locks

resource.setrlimit(resource.RLIMIT_NOFILE, (64, 200 + OTHER_FILES))
try:
    allow_locks(101)
except CacheError as error:
    print(error)
allow_locks(100)
held = []
for number in range(100):
    folder = Path(sys.argv[1]) / str(number)
    folder.mkdir()
    held.append(FileLock(folder))
"""


def test_as_many_locks_as_the_system_allows(tmp_path, run_python):
    told = run_python(LIMITED, tmp_path)
    assert re.search(r"101 folders .* takes 330 open files in all, .* have 328: raise .*ulimit -n", told)
