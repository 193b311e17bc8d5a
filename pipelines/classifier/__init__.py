"""A backbone and side networks as one classifier: images in, class scores out."""
