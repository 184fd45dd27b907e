"""Gallery embeds: alt texts and captions of confident tags as HTML with JSON-LD, for a publisher's page.

address        where a picture will stand, by a pattern that names columns
structured     one item in the words of schema.org
fragment       one item as HTML, and a page of many to look at
write          a catalogue with its tags as a folder of those
"""
