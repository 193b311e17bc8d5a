"""Tar shards in the layout of webdataset, whose images are read by their offsets."""
