"""Side networks are read from the results of losa-bench accuracy."""

import pytest

from losa.cache_format import LosaError
from losa.pipelines.bench.live.side_networks import read_side_networks

HEADER = "set,side,protocol,seed,data_seed,split,accuracy,parameters,head_parameters,seconds,status\n"
LINES = (
    "leaves,relay,fixed,0,0,test,0.5,1000,20,2.0,finished\n"
    "leaves,relay,fixed,1,1,test,0.75,1000,20,4.0,finished\n"
    "leaves,relay,candidate,0,0,val200,1.0,1000,20,9.0,finished\n"
    "leaves,linear,fixed,0,0,test,0.25,20,20,1.0,finished\n"
    "stones,linear,fixed,0,0,test,0.5,20,20,1.0,finished\n"
)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "results.csv"
    path.write_text(HEADER + LINES)
    return path


def test_a_row_is_the_mean_over_the_seeds(file):
    relay, linear = read_side_networks(file, ["leaves"], "test")
    assert relay == {
        "set": "leaves",
        "method": "relay, fixed",
        "parameters": 1000,
        "percent": {"mean": 62.5, "error": 12.5},
        "seconds": 3.0,
    }
    assert linear["method"] == "linear, fixed"
    assert linear["percent"] == {"mean": 25.0, "error": None}


def test_a_set_without_results_is_told(file):
    with pytest.raises(LosaError, match=r"no results on test of sand, reef: let losa-bench accuracy run"):
        read_side_networks(file, ["leaves", "sand", "reef"], "test")


def test_a_failed_member_is_told(file):
    file.write_text(HEADER + LINES + "leaves,relay,fixed,2,2,test,,,,,failed\n")
    with pytest.raises(LosaError, match="relay, fixed on leaves has a member without results"):
        read_side_networks(file, ["leaves"], "test")


def test_another_file_is_refused(file, tmp_path):
    with pytest.raises(LosaError, match=r"--compare .*nowhere.csv: there is no such file"):
        read_side_networks(tmp_path / "nowhere.csv", ["leaves"], "test")
    file.write_text("a,b\n1,2\n")
    with pytest.raises(LosaError, match="found none named set, side, protocol"):
        read_side_networks(file, ["leaves"], "test")
