"""Which values pictures are recognised as: one definition for training, search, evaluation, tagging and prompt scores.

vectors        vectors of pictures, texts and values, kept by content
predict        the values of an attribute that are nearest to each picture
calibration    probabilities of values
"""
