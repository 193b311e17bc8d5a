"""losa-bench reads: how fast a cache is read and decoded."""
