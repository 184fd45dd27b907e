"""Evaluation: what changed between two models, with what certainty, as rows, reports and gates."""
