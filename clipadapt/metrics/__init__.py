"""Figures and how sure they are: pure functions from arrays to numbers.

ranking          per query, from ranked relevance: precision@k, recall@k, average precision, nDCG, reciprocal rank
classification   from true and chosen values: top-1, per-value recall, balanced accuracy, macro F1
effective        what a figure over clustered items is worth in independent observations
intervals        intervals of means, balanced means and paired differences, clustered by product
gallery          intervals of average precision when the gallery, not the queries, is the sample
bootstrap        Bayesian bootstrap over products, for any other figure
studentised      p-values of means over classes, by swapping systems product by product
multiplicity     their correction when there are many
"""
