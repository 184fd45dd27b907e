"""What a reviewer needs before a release goes live, in one packet, every figure with the file that it comes from.

packet     sections of facts; what was not measured; conditions on sensitive categories and on licences
release    what the release's own files say: lineage, changes, training data, evaluation, gates, digests, rollback
beside     what was measured beside it: label audit, licences of the catalogue, drift, shadow, experiment
report     JSON and a page
"""
