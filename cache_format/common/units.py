"""Formatting of numbers for people."""


def readable(count: float) -> str:
    """Format a number of bytes, in powers of 1000.

    >>> readable(1_815_552)
    '1.8 MB'
    """
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
