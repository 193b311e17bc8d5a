"""Members of a sweep: what was asked for, their folders, the passes they share."""
