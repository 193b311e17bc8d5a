"""losa-bench extract: extraction against the bare forward pass and against other ways to keep features."""
