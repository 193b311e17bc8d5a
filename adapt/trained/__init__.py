"""Trained side networks: their files, and their class scores for any activations of their backbone."""
