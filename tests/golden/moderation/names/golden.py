#!/usr/bin/env python3
"""Writes `expected.json`: what the model says of some texts, run without the service.

usage: golden.py FOLDER   (an installed rampart-pii)
"""

import json
import os
import sys

from entities import Model

TEXTS = [
    "Dear Anna Maria Keller,\nyour parcel goes to 14 Rosewood Lane, Apt 3B, Springfield, IL 62704.\nYours, Tom O'Brien",
    "Ich wohne in der Hauptstraße 12, 10115 Berlin. Grüße, Jürgen Müller",
    "Je m'appelle Hélène Lefèvre et j'habite au 12 rue de la République, 69002 Lyon.",
    "Olivia Brown, Liam Davis and Smith, John were at the meeting 🙂 with Priya Raghunathan.",
    "Return to: Linda Martinez\n2750 Sunset Blvd\nLos Angeles, CA 90026",
    "Envíe el contrato a María Fernández, Avenida de América 40.",
    "I live in Paris and work in Berlin, where the zip code is 10115.",
    "The library opens at nine and the children love the story hour.",
    "今天天气很好，我们一起去公园散步吧。",
]


def main():
    model = Model(sys.argv[1])
    rows = [{"text": text, "found": model.entities(text)} for text in TEXTS]
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "expected.json"), "w") as file:
        json.dump(rows, file, ensure_ascii=False, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
