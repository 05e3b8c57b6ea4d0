"""Writes simplified.txt from OpenCC's TSCharacters.txt (Apache-2.0): simplified.py < TSCharacters.txt > simplified.txt

Pairs of a traditional and a simplified character without anything between, by code point, 32 pairs a line. Of several
simplified forms, the first, which is the most frequent.
"""

import sys

pairs = {}
for line in sys.stdin:
    traditional, simplified = line.rstrip("\n").split("\t")
    simplified = simplified.split(" ")[0]
    if len(traditional) == len(simplified) == 1 and traditional != simplified:
        pairs[traditional] = simplified
pairs = [a + b for a, b in sorted(pairs.items())]
for n in range(0, len(pairs), 32):
    print("".join(pairs[n : n + 32]))
