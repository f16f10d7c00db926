"""Tests of what times pspnetd, without pspnetd: python3 -m unittest, from scripts/bench-peers."""
