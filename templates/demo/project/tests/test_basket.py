import unittest

from shop.basket import total


class BasketTest(unittest.TestCase):
    def test_items_are_added_with_tax(self):
        self.assertEqual(total([("tea", 100, 2), ("cup", 200, 1)]), 476)

    def test_an_empty_basket_costs_nothing(self):
        self.assertEqual(total([]), 0)


if __name__ == "__main__":
    unittest.main()
