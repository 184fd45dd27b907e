"""Figures and how sure they are: pure functions from arrays to numbers.

effective        what a figure over clustered items is worth in independent observations
intervals        intervals of means, balanced means and paired differences, clustered by product
gallery          intervals of average precision when the gallery, not the queries, is the sample
bootstrap        intervals from Bayesian bootstrap draws, for any other figure
studentised      p-values of means over classes, by swapping systems product by product
neighbourhoods   places where new products crowd, in scans over every product's nearest neighbours
two_samples      whether new vectors come from where the old ones came from, by permuting products
arms             the mean of one arm of an experiment, clustered by user
sequential       differences of arms that may be read every day, and whether users came in at their share
multiplicity     their correction when there are many
"""
