"""Writes bigrams.txt: how likely a letter follows another in English.

bigrams.py FILE... > bigrams.txt reads English text. Row and column: the end of a word, then a to z. A cell is the negative
binary logarithm of the probability in halves of a bit, written as a letter: A is 0, B half a bit, at most Z.
"""

import math
import re
import sys

counts = [[0.1] * 27 for _ in range(27)]
for path in sys.argv[1:]:
    text = open(path, errors="ignore").read()
    if text.count("the ") * 400 < len(text):
        continue  # code, or another language
    for word in re.findall(r"(?<![A-Za-z/_.\\])[A-Z]?[a-z]+(?=[\s,;.!?])", text):
        letters = [0] + [ord(c) - 96 for c in word.lower()] + [0]
        for a, b in zip(letters, letters[1:]):
            counts[a][b] += 1
for row in counts:
    total = sum(row)
    print("".join(chr(65 + min(25, round(-2 * math.log2(n / total)))) for n in row))
