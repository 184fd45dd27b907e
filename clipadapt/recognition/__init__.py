"""Which values pictures are recognised as: one definition for training, search, evaluation, tagging and prompt scores.

values         what scores the values of an attribute: vectors of their texts, a linear head
nearest        the value with the highest score
predict        the values that are predicted for the items of a catalogue, and which are right
accuracy       recall, balanced accuracy, rare values
calibration    probabilities of values
vectors        vectors of pictures and texts, kept by content
"""
