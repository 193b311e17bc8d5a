"""Metadata arrays: keys, labels, split indices and constants, and the manifest they are read with."""
