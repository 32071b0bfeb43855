"""Handshake: a git-native agent. Signed work orders in, validated commits out, every step in git history."""

__version__ = "0.1.0"
