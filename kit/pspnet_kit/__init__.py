"""Trains, compresses, exports and judges the PSPNets that pspnetd runs. docs/models.md shows how to use it."""
