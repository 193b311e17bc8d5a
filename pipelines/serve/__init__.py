"""losa-serve: a page, and a JSON endpoint, that classify photos."""
