"""A recipe that trains a tiny network for one epoch."""

RECIPE = """
weights = "none"
[model]
stride = 16
stages = 4
bin_channels = 8
head_channels = 16
[train]
size = [96, 96]
phases = [{ epochs = 1, crop = [96, 96] }]
batch = 2
"""
