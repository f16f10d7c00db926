"""Labels for pictures that have none, from a teacher with other classes.

pool.py finds the pictures, teacher.py asks for probabilities, mapping.py says what they mean and places.py what can't
be, sphere.py votes on panoramas, store.py writes the data set, record.py notes what labels depend on and provenance.py
says whose pictures it holds; labeller.py does all that for one picture.
"""
