"""losa-demo: extraction and a sweep on bundled data, by the commands that a user would type."""

import argparse
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

from losa.pipelines.ending import ending

CACHE = "demo/cache"
RUNS = "demo/runs"

ABOUT = f"""\
losa demo: 1,797 handwritten digits (bundled with scikit-learn), timm's small vision transformer test_vit.

The backbone is UNTRAINED: its weights are random, from a fixed seed, because trained weights would have
to be downloaded. Random features carry little information, so the linear probe does badly, and the side
networks owe their accuracy to their own few thousand parameters. The numbers show that everything works;
they say nothing about how the methods compare on a trained backbone.

Everything is written below {Path(CACHE).parent}/ in this folder. A second run keeps all finished work.
"""

EXTRACT = ["losa-extract", "dataset=digits", "backbone.name=test_vit", "backbone.pretrained=false"]
ADAPT = ["losa-adapt", "-m", "side=linear,losa,last", "rank=4,8", "epochs=20"]


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        prog="losa-demo",
        usage="losa-demo\n\nTakes no options.",
        description=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    with ending("run the same command again to resume"):
        parser.parse_args()
        run()


def run() -> None:
    """Run the demo, which takes about a minute."""
    start = time.perf_counter()
    print(ABOUT)
    show_and_run([*EXTRACT, f"cache={CACHE}"])
    print("\nTwo ranks of each kind; a linear probe has no rank and is trained once.")
    show_and_run([*ADAPT, f"cache={CACHE}", f"out={RUNS}"])
    print(
        f"\n{time.perf_counter() - start:.0f} s in total. Written:\n"
        f"  {CACHE}/manifest.json     identity and contents of the cache\n"
        f"  {CACHE}/arrays.zarr       the activations, a group for any zarr reader\n"
        f"  {RUNS}/results.csv        the table above\n"
        f"  {RUNS}/<member>/          config.json, metrics.jsonl, summary.json, side_network.safetensors"
    )


def show_and_run(command: list[str]) -> None:
    """Print a command and run it; if it fails, the demo exits with its exit code."""
    print(f"$ {' '.join(command)}", flush=True)
    script = Path(sysconfig.get_path("scripts")) / command[0]
    finished = subprocess.run([script, *command[1:]], check=False)
    if finished.returncode:
        sys.exit(finished.returncode)
