"""What a candidate would have answered, beside what was answered, before anybody sees it.

pairs      the answers of a log -> both answers to every mirrored query
measure    pairs -> rows with intervals: agreement, failures, latency, clicks that are kept
report     JSON and a page with the queries that moved most
"""
