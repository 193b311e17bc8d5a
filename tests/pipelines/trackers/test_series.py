from losa.pipelines.trackers.series import own_series, pass_series

MEMBERS = {
    "a": {"lr": 0.1, "train_loss": 3.0, "val_accuracy": 0.2},
    "b": {"lr": 0.2, "train_loss": 1.0, "val_accuracy": 0.9},
    "c": {"lr": 0.3, "train_loss": 2.0},
}


def test_each_member_has_series_of_its_own() -> None:
    series = own_series(MEMBERS)
    assert len(series) == 8
    assert series["val_accuracy/b"] == 0.9
    assert series["lr/c"] == 0.3


def test_a_pass_has_its_best_median_and_worst() -> None:
    assert pass_series("first", MEMBERS) == {
        "train_loss/best/first": 1.0,
        "train_loss/median/first": 2.0,
        "train_loss/worst/first": 3.0,
        "val_accuracy/best/first": 0.9,
        "val_accuracy/median/first": 0.55,
        "val_accuracy/worst/first": 0.2,
    }


def test_names_have_no_sign_that_a_tracker_refuses() -> None:
    assert list(own_series({"losa-halve_at_5+10": {"accuracy/my test": 1.0}})) == [
        "accuracy/my_test/losa-halve_at_5_10"
    ]
