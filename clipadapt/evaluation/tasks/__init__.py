"""Tasks: each turns one entry of a suite into figures with evidence."""
