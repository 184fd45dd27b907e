"""Search: catalogues into vectors, vectors into an index, words and pictures into hits."""
