"""The exam: models of different class lists on sets of pictures from many places, judged in ten coarse groups."""
