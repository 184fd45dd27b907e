"""Catalogues in Parquet shards, on this machine or on any URL that fsspec understands: read here, by row.

    FOLDER/shards.json                         which shards there are, with rows, sizes and digests; written last
    FOLDER/rows/train.parquet                  the row index: every column, and the name and size of each picture
    FOLDER/data/train-00000-of-00123.parquet   every column, and the pictures: {bytes, path}, as datasets stores them

clipadapt.data.sharding writes them. Nothing here knows of catalogues.
"""
