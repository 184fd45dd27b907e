"""Replacing a served release by one of another model, index and all, while the catalogue changes."""
