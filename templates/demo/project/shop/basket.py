"""A customer's basket."""

from shop.pricing import gross


def total(items: list[tuple[str, int, int]]) -> int:
    """The sum to pay, in cents; an item is (name, net price, count)."""
    amount = 0
    for _name, net, count in items:
        amount += gross(net) * count
