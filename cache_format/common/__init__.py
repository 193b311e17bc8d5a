"""Helpers that all packages of the format may use, and which import none of them."""
