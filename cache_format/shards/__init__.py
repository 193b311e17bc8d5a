"""Shards and their commit records: writing, reading, checking and copying."""
