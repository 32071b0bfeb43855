"""A run as one page: gathered from its records, laid out without a script, safe whatever a model wrote."""
