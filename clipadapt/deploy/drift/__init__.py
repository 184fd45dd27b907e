"""Whether what comes in still looks like what the model was measured on.

cells      vectors, segments and time windows -> samples of products, each of them in one
measure    every window of every segment against the segment's reference, corrected for all of them
report     text, JSON, a page with the pictures that drifted most, and a file for Prometheus
"""
