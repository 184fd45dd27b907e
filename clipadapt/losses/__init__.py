"""What training pulls together and pushes apart: pure functions from unit vectors to a differentiable number.

terms         a loss as its sum and the items in it, so that pieces of a batch add up to the whole batch's mean
captions      a config's loss of pictures against captions by name, and how to bring one's own
contrastive   pictures against captions: softmax (CLIP), multi-positive, sigmoid (SigLIP)
attributes    a picture against all values of one attribute, rare values not drowned by frequent ones
keep          staying close to what the base knew
large_batch   the same losses and gradients in memory bounded by a tile and a micro-batch
"""
