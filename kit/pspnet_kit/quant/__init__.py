"""int8: the network as TFLite's operators, the choice of ranges, post-training quantisation and training with it."""
