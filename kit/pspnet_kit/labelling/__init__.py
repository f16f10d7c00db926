"""Labels for pictures that have none, from a teacher with other classes.

mapping.py says what a teacher's classes mean, teacher.py asks it, sphere.py votes on panoramas, pool.py finds the
pictures, store.py writes the data set.
"""
