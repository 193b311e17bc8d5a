"""losa-demo: from images to a chosen, trained, used side network, by the commands that a user would type."""

import argparse
import shlex
import subprocess
import sys
import sysconfig
import textwrap
import time
from pathlib import Path

from losa.pipelines.demo_digit import PICTURE, draw_digit
from losa.pipelines.ending import ending

FOLDER = Path("demo")
CACHE = FOLDER / "cache"
RUNS = FOLDER / "runs"
REPORT = FOLDER / "report.html"
DIGIT = FOLDER / "seven.png"

ABOUT = """\
losa adapts a large frozen network to your images without running it twice. This demo shows the whole way
in four steps, offline, in less than two minutes on two CPU cores. Each step is a command that you could type.

The frozen network, the backbone, is losa_tiny: a vision transformer of 1.9 million parameters that ships with
losa. It has seen drawn scenes only, never a digit and never a photograph (docs/losa-tiny.md). The images are
1,797 handwritten digits that come with scikit-learn.

Everything is written below demo/ in this folder. Interrupt it and start it again: finished work is kept.
"""

EXTRACT = ["losa-extract", "dataset=digits", "backbone=losa_tiny", "sites=3", f"cache={CACHE}"]
ADAPT = ["losa-adapt", "-m", f"cache={CACHE}", f"out={RUNS}", "protocol=select", "epochs=10"]
ADAPT += ["side=linear,losa,last,relay"]
PAGE = ["losa-report", str(RUNS), "--out", str(REPORT)]
PREDICT = ["losa-predict", str(RUNS / "selected" / "*"), str(DIGIT), "top=3"]

NEXT = """\
What to try next:

  a wider search       losa-adapt cache=demo/cache out=demo/search search=small side=losa,relay
  a page for a photo   losa-serve 'demo/runs/selected/*'
  one file to ship     losa-export 'demo/runs/selected/*' to=demo/digits.pt2
  your own images      losa-extract dataset=folder dataset.root=photos split=0.8 backbone=dinov2_s14
"""


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
    """Run the demo, which takes less than two minutes."""
    start = time.perf_counter()
    print(ABOUT)
    show_and_run(
        "1. The backbone sees every image once. What three of its six blocks compute is kept, in 8 bits.",
        EXTRACT,
    )
    show_and_run(
        "2. Side networks learn from these numbers: a linear probe, LoSA, LAST and our own Relay, all in "
        "one pass over the cache. They train on 800 digits and are compared on 200 others. The best one is "
        "then trained on all 1,000, and only it is scored, once, on the 797 digits of the test split.",
        ADAPT,
    )
    show_and_run("3. A page tells what won, by how much, and at what cost. Open it in a browser.", PAGE)
    FOLDER.mkdir(exist_ok=True)
    DIGIT.write_bytes(draw_digit())
    show_and_run(
        "4. The chosen side network looks at a digit that nobody wrote: this seven, drawn a moment ago.",
        PREDICT,
        shown=PICTURE,
    )
    print(f"{time.perf_counter() - start:.0f} s in total. The page is {REPORT}.\n\n{NEXT}")


def show_and_run(told: str, command: list[str], *, shown: str = "") -> None:
    """Tell what comes, print a command and run it; if it fails, the demo exits with its exit code."""
    print(textwrap.fill(told, 104))
    print(shown, end="")
    print(f"\n$ {shlex.join(command)}", flush=True)
    script = Path(sysconfig.get_path("scripts")) / command[0]
    finished = subprocess.run([script, *command[1:]], check=False)
    if finished.returncode:
        sys.exit(finished.returncode)
    print(flush=True)
