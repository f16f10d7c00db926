"""Training: the loop, what it optimises, and what it leaves behind."""
