"""Training: losses, optimisers, the loop."""
