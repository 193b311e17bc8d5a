"""The charts of a page, one kind per file: specifications of Vega-Lite with their data, made with Altair."""
