"""What a service answered and what people did with it, as files that anyone can read.

form     the columns of events and answers, and a line of each
parts    the files: appended, rotated by size and day, sealed after a crash
read     a whole log -> tables, as JSON Lines or Parquet, while it is being written
"""
