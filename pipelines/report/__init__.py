"""losa-report: a page for what was measured."""
