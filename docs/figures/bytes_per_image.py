"""Measures bytes_per_image.csv: the accuracy that side networks keep on fewer bytes of each image.

Run as ``python docs/figures/bytes_per_image.py DATA WEIGHTS FOLDER``. DATA has a folder of photographs and
lists for each data set, WEIGHTS is the file of a DeiT-Tiny, and FOLDER is for caches and side networks, a few
GB. What is there already is not made again. Prints the tables of docs/cache-measurements.md.
"""

import argparse
import csv
import json
import subprocess
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev

from losa.cache_format import Cache
from losa.cache_format.sites import is_sum

HERE = Path(__file__).parent
GRIDS = (2, 7, 14)
"""Sides to which the grid of 14 x 14 patches is pooled; 14 is the whole grid."""
SITES = ("1", "sum:all", "2", "[sum:all,1]", "4")
LAYERED = ("losa", "relay", "last", "lst")
PROBES = ("linear", "mlp", "attentive")
COLUMNS = ("dataset", "grid", "sites", "side", "seed", "bytes", "parameters", "accuracy")
VIT_B = (768 + 4) / (192 + 4)
"""Bytes of a token of a ViT-B/16 relative to one of a DeiT-Tiny: a code for each channel, and a scale."""
Row = dict[str, str]


def extract(data: Path, weights: Path, folder: Path, dataset: str, grid: int) -> Path:
    """A cache of one data set and one grid, with four blocks and the sum of all."""
    cache = folder / "caches" / f"{dataset}-grid{grid}"
    run(
        "losa-extract dataset=lists splits=[train800val200,test] backbone=deit_ti16 sites=[4,sum:all]",
        f"dataset.name={dataset} dataset.root={data / dataset} backbone.checkpoint={weights}",
        f"grid={grid} cache={cache}",
    )
    return cache


def adapt(cache: Path, seeds: list[int], runs: Path) -> None:
    """Train every side network on every choice of sites, with what the defaults were on 2026-11-26."""
    command = (
        f"losa-adapt -m cache={cache} seed={','.join(map(str, seeds))} out={runs} "
        "dropout=0.0 weight_decay=1e-4 probe_share=0"
    )
    run(command, f"side={','.join(PROBES)} rank=64 sites=1,sum:all")
    run(command, f"side={','.join(LAYERED)} rank=8 sites={','.join(SITES)}")


def run(*parts: str) -> None:
    """Run a command; its words are separated by spaces."""
    subprocess.run(" ".join(parts).split(), check=True)


def rows_of(runs: Path) -> list[Row]:
    """The scores of all side networks below a folder."""
    rows = []
    for path in sorted(runs.rglob("summary.json")):
        summary = json.loads(path.read_text())
        cache, sites = Path(summary["cache"]["path"]), summary["sites"]
        dataset, grid = cache.name.rsplit("-grid", 1)
        blocks = sum(not is_sum(site) for site in sites)
        rows.append(
            {
                "dataset": dataset,
                "grid": grid,
                "sites": " + ".join([*filter(is_sum, sites), *([str(blocks)] if blocks else [])]),
                "side": summary["side"],
                "seed": str(summary["seed"]),
                "bytes": str(Cache(cache).split("test", sites).image_bytes),
                "parameters": str(summary["parameters"]),
                "accuracy": f"{summary['accuracy']['test']:.4f}",
            }
        )
    return rows


def table(rows: list[Row], dataset: str) -> str:
    """Mean and standard error over the seeds, a line for each cache that would be made."""
    scores: dict[tuple[int, str, str], list[float]] = defaultdict(list)
    sizes: dict[tuple[int, str], int] = {}
    for row in rows:
        if row["dataset"] == dataset:
            scores[int(row["grid"]), row["sites"], row["side"]].append(100 * float(row["accuracy"]))
            sizes[int(row["grid"]), row["sites"]] = int(row["bytes"])
    sides = (*PROBES, *LAYERED)
    lines = [
        f"| grid | sites | bytes | 1M images | of a ViT-B/16 | {' | '.join(sides)} |",
        "|---" * (5 + len(sides)) + "|",
    ]
    for (grid, sites), size in sorted(sizes.items(), key=lambda each: (each[1], each[0])):
        cells = [shown(scores[grid, sites, side]) for side in sides]
        million = f"{size / 1000:.1f} GB | {VIT_B * size / 1000:.0f} GB"
        lines.append(f"| {grid} x {grid} | {sites} | {size:,} | {million} | {' | '.join(cells)} |")
    return "\n".join(lines)


def shown(scores: list[float]) -> str:
    """Mean and standard error."""
    if len(scores) < 2:
        return "".join(f"{score:.1f}" for score in scores)
    return f"{mean(scores):.1f} ± {stdev(scores) / len(scores) ** 0.5:.1f}"


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("data", "weights", "folder"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--datasets", nargs="+", default=["sign_digits", "flowers5"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    arguments = parser.parse_args()
    runs = arguments.folder / "runs"
    for dataset in arguments.datasets:
        for grid in GRIDS:
            cache = extract(arguments.data, arguments.weights, arguments.folder, dataset, grid)
            adapt(cache, arguments.seeds, runs)
    rows = rows_of(runs)
    with (HERE / "bytes_per_image.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(rows, key=lambda row: tuple(map(row.get, COLUMNS))))
    for dataset in arguments.datasets:
        print(f"\n{dataset}\n\n{table(rows, dataset)}")


if __name__ == "__main__":
    main()
