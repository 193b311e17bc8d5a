import os
import subprocess
import sys

import pytest

from losa.pipelines.idle_threads import let_idle_threads_sleep


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"}),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, {"OMP_WAIT_POLICY": "ACTIVE"}),
        ({"GOMP_SPINCOUNT": "5"}, {"GOMP_SPINCOUNT": "5"}),
        ({"KMP_BLOCKTIME": "5"}, {"KMP_BLOCKTIME": "5"}),
    ],
)
def test_a_choice_of_the_user_stays(before: dict[str, str], after: dict[str, str]) -> None:
    environment = dict(before)
    let_idle_threads_sleep(environment)
    assert environment == after


@pytest.mark.parametrize("name", ["adapt", "extract"])
def test_it_is_said_before_torch_is_imported(name: str) -> None:
    program = f"""
import sys, types
import losa.pipelines.{name}_command as command
assert "torch" not in sys.modules
job = types.ModuleType("losa.pipelines.{name}_job")
job.run = lambda: print(*map(__import__("os").environ.get, ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")))
sys.modules[job.__name__] = job
command.main()
"""
    chosen = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
    environment = {variable: value for variable, value in os.environ.items() if variable not in chosen}
    ran = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert (ran.stdout, ran.stderr) == ("PASSIVE 1000\n", "")
