"""Stage 2: side networks are trained from a cache."""
