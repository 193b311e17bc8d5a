"""Members of a sweep: their jobs, their folders, and the passes in which they are trained."""
