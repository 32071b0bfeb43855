"""A person's acts around a packet: refine, sign, activate, review, and keep board and registry.

Contract: `packets-and-gates.md`, Around a packet.
"""
