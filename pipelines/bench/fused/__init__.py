"""losa-bench fused: a training step of the factored network against other ways to train the same."""
