"""Training: losses, optimisers and the training loop."""
