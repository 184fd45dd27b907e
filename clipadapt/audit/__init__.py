"""What a person should know of a catalogue's labels before a model learns them.

labels      every known label of a split: item, attribute, value
sample      which of them a person looks at: stratified by value, rare values over-sampled
estimate    a person's marks -> label error per attribute and value, with intervals
suspects    the labels that a model, fitted on other products, disagrees with most confidently
twins       near-identical pictures of different products or splits, by perceptual hash and by vectors
overview    picture sizes, class balance and spellings
answers     the marks as the page exports them
page        the page on which labels are marked, and the one that reports
"""
