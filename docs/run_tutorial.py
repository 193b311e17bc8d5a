"""Run docs/tutorial.ipynb in Jupyter and keep what it shows: ``make tutorial``."""

from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).with_name("tutorial.ipynb")

notebook = nbformat.read(NOTEBOOK, as_version=4)
# One text for each cell, with the last state of its progress bars. Times would differ in each run.
NotebookClient(notebook, timeout=None, coalesce_streams=True, record_timing=False).execute()
notebook.metadata.pop("language_info", None)
nbformat.write(notebook, NOTEBOOK)
