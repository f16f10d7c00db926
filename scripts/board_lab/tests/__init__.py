"""Tests of the lab itself, without an emulator: python3 -m unittest, from scripts/."""
