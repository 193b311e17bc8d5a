"""Names of what `losa-report efficiency` writes into its folder, beside the page."""

CSV_NAME = "results.csv"
JSON_NAME = "results.json"
TABLE_NAME = "table.md"
RUNS = "runs"
"""Folder of the members that ``--train`` trains."""
