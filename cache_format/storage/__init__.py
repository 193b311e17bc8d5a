"""Local and remote files: paths, atomic writes, byte ranges, locks, sealed JSON."""
