"""Makes a trained network smaller: pruned channels, convolutions of low rank, int8."""
