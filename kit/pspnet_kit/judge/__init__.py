"""How good a model is: class agreement, boundaries, calibration, speed, pictures, and what the daemon makes of it."""
