"""Sets of numbers as ranges, short to store and to send."""

Ranges = list[list[int]]  # [first, last] of numbers that follow each other
AllLines = dict[str, dict[str, Ranges]]  # by room and client


def add_number(ranges: Ranges, number: int) -> None:
    """Add a number to ranges that do not hold it."""
    if ranges and ranges[-1][1] == number - 1:
        ranges[-1][1] = number
    else:
        ranges.append([number, number])
        ranges.sort()


def holds(ranges: Ranges, number: int) -> bool:
    return any(first <= number <= last for first, last in ranges)


def held(ranges: Ranges) -> int:
    """How many numbers the ranges hold."""
    return sum(last - first + 1 for first, last in ranges)


def lacking(before: Ranges, after: Ranges) -> Ranges:
    """The numbers of the first ranges that the second ones do not hold."""
    found: Ranges = []
    for first, last in before:
        at = first
        for start, end in sorted(after):
            if end >= at and start <= last:
                if start > at:
                    found.append([at, start - 1])
                at = end + 1
        if at <= last:
            found.append([at, last])
    return found
