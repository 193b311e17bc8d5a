"""losa-cache: looking at caches, checking, mending, joining and re-coding them."""
