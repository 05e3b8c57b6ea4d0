"""Writes tokens.json: what transformers' CLIPTokenizer makes of texts of all kinds. python tokens.py

Needs the vocabularies that golden.py writes, transformers==4.57.0, and no ftfy (with which transformers cleans texts its own
way).
"""

import json
from pathlib import Path

from transformers import CLIPTokenizer

FOLDER = Path(__file__).parent
TEXTS = [
    "",
    "   ",
    "a photo of the cat",
    "A PHOTO of The Cat",
    "a  photo\n\tof   the\u00a0cat ",
    "red,blue;green",
    "it's the cat's, they'll say I'm riding; we've seen",
    "2 cats and 17 dogs, 3.14!",
    "mars??? on mars...",
    "caf\u00e9 cafe\u0301",
    "\u732b\u548c\u72d7",
    "a \u732b on mars",
    "\u0645\u0631\u062d\u0628\u0627",
    "\u041a\u041e\u0422 \u0438 \u043f\u0451\u0441",
    "\U0001f600 emoji \U0001f468\u200d\U0001f469\u200d\U0001f467",
    "don\u2019t \u201cquote\u201d",
    "tabs\tand\u0000nulls\u0007",
    "\ufffdreplacement",
    "<|endoftext|> inside",
    "<|startoftext|>",
    "(red) [blue] {cat} <dog>",
    "a_b-c/d\\e",
    "\u00dcBER stra\u00dfe \u0130stanbul",
    "\u1e9e \u03a3\u03a3",
    "\u2460 \u00bd \u00b2 \u2167",
    "x\u200by zero width",
    "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
    "\ud55c\uad6d\uc5b4 \u306b\u307b\u3093\u3054",
    "a'b''c '",
    "word " * 40,
    "photo of the cat dog red blue horse on mars " * 9,
    "#hash @at $5 %",
]


def main():
    taken = {}
    for part in ("shared/tokenizer", "large/tokenizer_2"):
        tokenizer = CLIPTokenizer.from_pretrained(FOLDER / part)
        options = {"padding": "max_length", "max_length": 77, "truncation": True}
        taken[part] = [tokenizer(text, **options).input_ids for text in TEXTS]
    truncated = [len(CLIPTokenizer.from_pretrained(FOLDER / "shared/tokenizer")(text).input_ids) > 77 for text in TEXTS]
    values = {"texts": TEXTS, "truncated": truncated, **taken}
    (FOLDER / "tokens.json").write_text(json.dumps(values, ensure_ascii=True, separators=(",", ":")) + "\n")


main()
