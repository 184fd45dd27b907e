"""The offline catalogue: garments drawn by rule, with known attribute values, a long tail and several pictures each.

    vocabulary   attributes, their values and how often each is drawn
    products     what is for sale: products, their values, their pictures, their split
    shapes       a category and a cut -> polygons
    patterns     what is printed or woven in another colour
    textures     what a fabric does to light
    picture      one product in one pose, light and room -> an RGB picture
    write        all of it -> an imagefolder with metadata.csv

It stands in for photos where there are none; it is far easier than photos, so what is measured on it shows that the
pipeline works and nothing about a shop's catalogue.
"""

from clipadapt.data.garments.write import draw

__all__ = ["draw"]
