"""losa-bench fused: a fused training step against other ways to train the same."""
