"""What lies on the shelves."""


def reorder_days(stock: int, sold_per_day: int) -> int:
    """How many whole days the stock lasts."""
    days = 0
    while stock > sold_per_day:
        stock -= sold_per_day
        days += 1
    return days
