"""losa-demo: the whole way on data that needs no download, by the commands a user would type."""

import subprocess
import sys
import sysconfig
import time
from pathlib import Path

CACHE = "demo/cache"
RUNS = "demo/runs"

ABOUT = f"""\
losa demo: 1,797 handwritten digits (bundled with scikit-learn), timm's small vision transformer test_vit.

The backbone is UNTRAINED: its weights are random, from a fixed seed, because trained weights would have
to be downloaded. Random features say little, so the linear probe does badly, and what the side networks
reach they owe to their own few thousand parameters. The numbers show that everything works; they say
nothing about how the methods compare on a trained backbone.

Everything is written below {Path(CACHE).parent}/ in this folder. Run the demo again: finished work is kept.
"""

EXTRACT = ["losa-extract", "dataset=digits", "backbone.name=test_vit", "backbone.pretrained=false"]
ADAPT = ["losa-adapt", "-m", "side=linear,losa,last", "rank=4,8", "epochs=20"]


def main() -> None:
    """Entry point."""
    start = time.perf_counter()
    print(ABOUT)
    run([*EXTRACT, f"cache={CACHE}"])
    print("\nTwo ranks of each kind; a linear probe has no rank and is trained once.")
    run([*ADAPT, f"cache={CACHE}", f"out={RUNS}"])
    print(
        f"\n{time.perf_counter() - start:.0f} s in all. Written:\n"
        f"  {CACHE}/manifest.json     what the cache is and holds\n"
        f"  {CACHE}/arrays.zarr       the activations, for any zarr reader\n"
        f"  {RUNS}/results.csv        the table above\n"
        f"  {RUNS}/<member>/          config.json, metrics.jsonl, summary.json, side_network.safetensors"
    )


def run(command: list[str]) -> None:
    """Show a command and run it; a failure ends the demo with the command's exit code."""
    print(f"$ {' '.join(command)}", flush=True)
    script = Path(sysconfig.get_path("scripts")) / command[0]
    finished = subprocess.run([script, *command[1:]], check=False)
    if finished.returncode:
        sys.exit(finished.returncode)
