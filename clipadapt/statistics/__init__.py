"""From what was measured to figures with their certainty, for whatever measures: evaluation, tagging.

rows         one figure each, with its interval and comparison, as results.json keeps it
results      rows with what they were measured on: results.json
settings     coverage, bootstrap draws, permutations
sampling     bootstrap weights and swaps by product
galleries    ranking metrics whose items weigh more or less
evidence     what a figure was measured from
cells        evidence -> rows
"""
