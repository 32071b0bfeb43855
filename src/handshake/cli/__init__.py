"""The command line: one small file for each verb, one edge where errors become a line and an exit code."""
