"""What a query says, read from its text: values wanted and not wanted, numbers and dates, and the words that remain.

words          a text in words and signs, each with its place; forms under which two spellings are the same
grammar        words of negation, choice and comparison, by language
vocabulary     the values and columns that a query can speak of
spelling       the name that a misspelt word means
quantities     "under 50", "size 38 to 40", "since May 2024" -> conditions on typed columns
understood     the structure that comes out, its checks and the line that explains it
reader         text and vocabulary in, structure out
"""
