"""Labelled pictures: data sets in the known layouts, their labels, and the checker for both."""

from .dataset import ClassInfo, Dataset, Pair
from .labels import VOID, class_frequencies
from .layouts import open_dataset

__all__ = ["VOID", "ClassInfo", "Dataset", "Pair", "class_frequencies", "open_dataset"]
