import csv
import io

from losa.pipelines.csv_text import csv_text


def test_values_are_written_as_they_are_typed() -> None:
    text = csv_text(
        ["lr", "bias", "sites", "reason"], [[1 / 3, True, ["embed", 2], None], [2.0, 0, 1, 'a "b"\n,']]
    )
    titles, *lines = csv.reader(io.StringIO(text, newline=""))
    assert titles == ["lr", "bias", "sites", "reason"]
    assert lines == [["0.3333333333333333", "true", "[embed,2]", ""], ["2", "0", "1", 'a "b"\n,']]
