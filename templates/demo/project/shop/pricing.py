"""Prices in cents."""

VAT_PERCENT = 7


def gross(net: int) -> int:
    """The price with value added tax, rounded down to whole cents."""
    return net + net * VAT_PERCENT // 100
