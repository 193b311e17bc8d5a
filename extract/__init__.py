"""Stage 1: a frozen backbone runs once over a data set and its activations go to a cache."""
