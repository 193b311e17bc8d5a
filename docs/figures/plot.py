"""Draws accuracy.csv, the scores of docs/methods.md: accuracy against rank and against the number of sites.

Run as ``python docs/figures/plot.py``, with the extra ``figures``;
writes rank.svg and sites.svg.
"""

import csv
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import mean

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot as plt

HERE = Path(__file__).parent
TITLES = {"sign_digits": "sign digits", "dtd10": "ten DTD textures"}
RANKS = {"losa": "8", "last": "16", "relay": "8"}
"""Rank of each side network for which the number of sites was varied."""
COLOURS = {"losa": "tab:blue", "last": "tab:orange", "relay": "tab:green"}
Row = dict[str, str]


def draw(rows: list[Row], name: str, axis: str, chosen: Callable[[Row], bool]) -> None:
    """Draw a panel per data set and a line per side network: means over seeds, and each seed as a dot."""
    rows = [row for row in rows if chosen(row) and row["side"] in COLOURS]
    # Two points are no curve: a data set needs three.
    datasets = [
        dataset
        for dataset in TITLES
        if any(
            len({row[axis] for row in rows if (row["dataset"], row["side"]) == (dataset, side)}) > 2
            for side in COLOURS
        )
    ]
    figure, panels = plt.subplots(1, len(datasets), figsize=(4.6 * len(datasets), 3.4), squeeze=False)
    for dataset, panel in zip(datasets, panels[0], strict=True):
        for side, colour in COLOURS.items():
            scores: dict[int, list[float]] = defaultdict(list)
            for row in rows:
                if (row["dataset"], row["side"]) == (dataset, side):
                    scores[int(row[axis])].append(100 * float(row["accuracy"]))
            if len(scores) < 2:
                continue
            places = sorted(scores)
            panel.plot(places, [mean(scores[place]) for place in places], "-", color=colour, label=side)
            for place in places:
                panel.plot([place] * len(scores[place]), scores[place], ".", color=colour, alpha=0.6)
        panel.set_xscale("log", base=2)
        ticks = sorted({int(row[axis]) for row in rows if row["dataset"] == dataset})
        panel.set_xticks(ticks, [str(tick) for tick in ticks], minor=False)
        panel.minorticks_off()
        panel.set(title=TITLES[dataset], xlabel=axis, ylabel="test accuracy in percent")
        panel.grid(alpha=0.3)
        panel.legend()
    figure.tight_layout()
    # No date and no random names, so that equal numbers give equal files.
    matplotlib.rcParams["svg.hashsalt"] = "losa"
    figure.savefig(HERE / f"{name}.svg", metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    """Entry point."""
    with (HERE / "accuracy.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    draw(rows, "rank", "rank", lambda row: row["sites"] == "12")
    draw(rows, "sites", "sites", lambda row: row["rank"] == RANKS.get(row["side"]))


if __name__ == "__main__":
    main()
