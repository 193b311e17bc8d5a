"""Shards and their commit records: written, read, checked, copied."""
