import os

from losa.extract.extraction import Extractor


def test_as_many_workers_as_this_process_may_use_cores(config, monkeypatch):
    """Not as the machine has: a container or a batch system may allow fewer."""
    for cores, workers in ((3, 3), (64, 8), (1, 1)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: set(range(cores)))
        assert Extractor(config(workers=None)).forward.workers == workers
    assert Extractor(config(workers=5)).forward.workers == 5
