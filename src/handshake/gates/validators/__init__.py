"""Validators: each one file with a function from a view to findings, and one row in `table`. Contract:
`packets-and-gates.md`, Validators."""
