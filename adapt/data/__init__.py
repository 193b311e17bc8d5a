"""Activations of images in the order in which training wants them."""
