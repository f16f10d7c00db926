"""Boots emulated boards with Debian's own kernel, runs a scenario on each, and returns its verdict."""
