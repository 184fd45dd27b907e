"""Tagging: values per item with calibrated probabilities, of which those that can be trusted need no person.

certify        from tune: how low a probability may be for predictions at or above it to be right often enough
predictions    which values an item can have, and which of them a model predicts
thresholds     both fitted on tune for every attribute, kept as thresholds.json
describe       a caption and an alt text from confident values
tag            all of it over a catalogue, as a table
report         precision at coverage, and what no person has to look at, with intervals
table          the same for a terminal
"""
