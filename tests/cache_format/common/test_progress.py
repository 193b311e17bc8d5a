from losa.cache_format.common.progress import progress_bar


def test_without_a_terminal_it_does_not_fill_the_log(capsys):
    with progress_bar(1000, "working", "img") as bar:
        for _ in range(1000):
            bar.set_postfix_str("busy", refresh=False)
            bar.update()
    written = capsys.readouterr().err
    assert "1000/1000" in written
    assert written.count("working") <= 3


def test_it_can_be_left_out(capsys):
    with progress_bar(2, "working", "img", disable=True) as bar:
        bar.update(2)
    assert capsys.readouterr().err == ""
