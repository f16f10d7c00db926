"""Makes somebody else's TFLite segmentation network a model for pspnetd: cuts its ends, changes its size, checks it."""
