"""Whether what comes in still looks like what the model was measured on.

cells      vectors, segments and time windows -> samples of products, each of them in one
measure    every window of every segment against the segment's reference, corrected for all of them
rates      shares of values, every window against the reference
queries    a service's log -> samples of queries, by user
tags       two files of tags -> what is counted of them
shift      how far an adaptation moves the same items
findings   all that was compared, and what of it alarms
report     JSON, a page with the pictures that drifted most, and a file for Prometheus
"""
