import pytest

from losa.cache_format.common.progress import progress_bar


def test_without_a_terminal_it_does_not_fill_the_log(capsys):
    with progress_bar(1000, "working", "img") as bar:
        for _ in range(1000):
            bar.set_postfix_str("busy", refresh=False)
            bar.update()
    written = capsys.readouterr().err
    assert "1000/1000" in written
    assert written.count("working") <= 3
    assert "\r" not in written


def test_a_last_state_is_not_told_twice(capsys):
    with progress_bar(1, "working", "img", leave=True) as bar:
        bar.update()
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" [")[0] for line in lines] == ["working: 0%, 0/1", "working: 100%, 1/1"]


def test_what_takes_no_time_is_not_told(capsys):
    with progress_bar(10, "working", "img", delay=60.0) as bar:
        bar.update(10)
    assert capsys.readouterr().err == ""


def test_what_was_done_before_counts(capsys):
    with progress_bar(10, "working", "img", initial=5):
        pass
    assert capsys.readouterr().err.startswith("working: 50%, 5/10 ")


@pytest.mark.parametrize("counts", [True, False])
def test_a_terminal_gets_a_bar(counts, monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with progress_bar(1000, "working", "img", counts=counts) as bar:
        bar.update(500)
    written = capsys.readouterr().err
    assert "\rworking:  50%|" in written
    assert ("500/1000" in written) == counts


def test_it_can_be_left_out(capsys):
    with progress_bar(2, "working", "img", disable=True) as bar:
        bar.update(2)
    assert capsys.readouterr().err == ""
