#!/usr/bin/env python3
"""Prints how many names and addresses the model finds in `sentences.json`, and how often it finds some where there are none: in
sentences by themselves, then in the same among other text.

usage: measure.py FOLDER   (an installed rampart-pii)
"""

import json
import os
import sys

from entities import ADDRESS, NAME, Model

THRESHOLD = 0.5
AROUND = "The library opens at nine and the children love the story hour. " * 3


def main():
    model = Model(sys.argv[1])
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "sentences.json")) as file:
        sentences = json.load(file)
    for before, behind in [("", ""), (AROUND, " " + AROUND)]:
        print(f"\nwith {len(before)} characters before and {len(behind)} behind")
        measure(model, sentences, before, behind)


def measure(model, sentences, before, behind):
    for language, rows in sentences["with"].items():
        for category, key in [(NAME, "name"), (ADDRESS, "address")]:
            whole = part = extra = wanted = 0
            for row in rows:
                whole_text = before + row["text"] + behind
                found = [one for one in model.entities(whole_text) if one["category"] == category and one["score"] >= THRESHOLD]
                spans = [(one["start"], one["end"]) for one in found]
                for text in row.get(key, []):
                    wanted += 1
                    start = len(whole_text[: whole_text.index(text)].encode())
                    end = start + len(text.encode())
                    if (start, end) in spans:
                        whole += 1
                    elif any(a < end and start < b for a, b in spans):
                        part += 1
                        print(f"    part of {text!r}: {[row['text'].encode()[a:b].decode() for a, b in spans]}")
                    else:
                        print(f"    missed {text!r} of {row['text']!r}")
                texts = [whole_text.encode()[a:b].decode() for a, b in spans]
                more = [text for text in texts if not any(text in known or known in text for known in row.get(key, []))]
                if more:
                    print(f"    too much in {row['text']!r}: {more}")
                extra += len(more)
            print(f"{language} {key}: {whole} whole and {part} in part of {wanted}, {extra} too much")
    for language, texts in sentences["without"].items():
        alarms = 0
        for text in (before + text + behind for text in texts):
            found = [one for one in model.entities(text) if one["score"] >= THRESHOLD]
            if found:
                alarms += 1
                print(f"    in {text!r}: {[(text.encode()[one['start'] : one['end']].decode(), round(one['score'], 2)) for one in found]}")
        print(f"{language}: {alarms} false alarms in {len(texts)}")


if __name__ == "__main__":
    main()
