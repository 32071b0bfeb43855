import unittest

from shop.stock import reorder_days


class StockTest(unittest.TestCase):
    def test_the_last_full_day_counts(self):
        self.assertEqual(reorder_days(30, 10), 3)

    def test_a_part_of_a_day_does_not(self):
        self.assertEqual(reorder_days(35, 10), 3)

    def test_too_little_for_one_day(self):
        self.assertEqual(reorder_days(5, 10), 0)


if __name__ == "__main__":
    unittest.main()
