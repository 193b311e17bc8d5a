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


def duration(seconds: float) -> str:
    """Format a duration in its two largest units.

    >>> duration(42.4), duration(3_905), duration(200_000)
    ('42 s', '1 h 5 min', '2 d 7 h')
    """
    rest = round(seconds)
    parts = []
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"


def counted(count: int, one: str, more: str) -> str:
    """A number with what it counts, in singular or plural.

    >>> counted(1, "image", "images"), counted(1_000, "image", "images")
    ('1 image', '1,000 images')
    """
    return f"{count:,} {one if count == 1 else more}"
