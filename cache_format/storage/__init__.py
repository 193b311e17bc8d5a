"""Files, here or in a bucket: paths, whole writes, byte ranges, locks, sealed JSON."""
