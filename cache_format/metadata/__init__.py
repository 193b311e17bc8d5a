"""The arrays beside the features, read whole: keys, labels, split indices, constants."""
