"""Learning rate over time: linear warm-up, then half a cosine down to zero."""

import math


def warmup_cosine(step: int, steps: int, warmup: float) -> float:
    """The factor on the learning rate at a step.

    Args:
        step: number of the step, from 0.
        steps: number of steps of the whole training.
        warmup: fraction of the steps in which the factor rises, at least 0 and below 1.

    >>> [round(warmup_cosine(step, 8, 0.25), 3) for step in range(8)]
    [0.5, 1.0, 1.0, 0.933, 0.75, 0.5, 0.25, 0.067]
    """
    rising = math.floor(warmup * steps)
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / (steps - rising)))
