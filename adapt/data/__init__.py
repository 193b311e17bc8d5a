"""The images to train on: labels, order, views, and where their activations are kept."""
