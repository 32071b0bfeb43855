import unittest

from shop.pricing import gross


class PricingTest(unittest.TestCase):
    def test_nineteen_percent_are_added(self):
        self.assertEqual(gross(100), 119)

    def test_cents_are_rounded_down(self):
        self.assertEqual(gross(199), 236)


if __name__ == "__main__":
    unittest.main()
