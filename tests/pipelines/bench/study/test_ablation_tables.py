"""The tables of ablations: what the papers say beside what was seen."""

from typing import Any

from losa.pipelines.bench.study.ablation_tables import ablation_tables


def test_changes_are_compared_with_the_default(row: Any, settings: Any) -> None:
    scores_of: dict[str, dict[str, tuple[float | None, ...]]] = {
        "default": {"dusk": (0.80, 0.82), "noon": (0.60, 0.62)},
        "rank=2": {"dusk": (0.70, 0.72), "noon": (0.60, 0.62)},
        "rank=16": {"dusk": (0.90, 0.92), "noon": (0.60, 0.62)},
        "rank=32": {"dusk": (0.90, None), "noon": (0.60, 0.62)},
        "bias=true": {"dusk": (0.80, 0.82), "noon": (0.58, 0.60)},
    }
    rows = [
        row(score, variant=variant, set=name, seed=seed)
        for variant, by_set in scores_of.items()
        for name, scores in by_set.items()
        for seed, score in enumerate(scores)
    ]
    summary, rank, bias = ablation_tables(rows, settings(), ["rank", "sites", "bias"])
    assert summary.lines == [
        ["rank", "losa", "4, 8 and 16 are named [S]", "8", "16: +5.0 ± 1.0", "2: -5.0 ± 1.0"],
        ["bias", "losa", "[?]", "false", "true: -1.0 ± 1.0", ""],
    ]
    assert rank.titles == ["side network", "rank", "parameters", "dusk", "noon", "mean", "less default"]
    assert [line[1] for line in rank.lines] == ["8 (default)", "2", "16", "32"]
    assert [line[-1] for line in rank.lines] == ["", "-5.0 ± 1.0", "+5.0 ± 1.0", "-"]
    assert rank.lines[-1][3:5] == ["-", "61.0 ± 1.0"]
    assert [line[1] for line in bias.lines] == ["false (default)", "true"]
