"""Writes golden.json with independent implementations: python golden.py

Needs imagehash==4.3.2 (with scipy==1.17.1) and Pillow==13.0.0; text is hashed by a few lines of plain Python below.
"""

import json
import math
import unicodedata
from pathlib import Path

import imagehash
from PIL import Image

HERE = Path(__file__).parent
ROOT = HERE.parents[4]
PHOTOGRAPHS = [
    "tests/golden/image/pictures/cat.png",
    "tests/golden/image/pictures/coffee.png",
    "tests/golden/moderation/images/ellipses-a.jpg",
    "tests/golden/moderation/images/ellipses-b.jpg",
    "tests/golden/moderation/images/noise.png",
]
TEXTS = [
    "The Tyger, by William Blake: Tyger Tyger, burning bright, In the forests of the night; What immortal hand or eye, "
    "Could frame thy fearful symmetry?",
    "床前明月光，疑是地上霜。举头望明月，低头思故乡。",
    "Überall kauft man Kaffee & STRASSE 42: 東京タワー and Ｆｕｌｌ width, don’t you think so, dear friend of mine?",
    "สวัสดีชาวโลก ยินดีต้อนรับสู่ประเทศไทย",
    "four words are few",
]


def words(bits):
    """256 bits, row by row, lowest bit first, in four numbers of 64 as decimal strings: JSON has no such numbers."""
    bits = [bool(bit) for bit in bits.flatten()]
    return [str(sum(bit << n for n, bit in enumerate(bits[start : start + 64]))) for start in range(0, 256, 64)]


def perceptual(picture):
    return words(imagehash.phash(picture, hash_size=16, highfreq_factor=2).hash)


def difference(picture):
    return words(imagehash.dhash(picture, hash_size=16).hash)


def drawn(width, height, seed):
    """A picture of the hashes' own size, so that no resizing takes part: waves and noise of whole numbers."""

    def value(x, y):
        wave = 60 * math.sin(x * (seed + 2) / 9 + seed) + 50 * math.cos(y * (seed + 1) / 7)
        noise = (x * 7919 + y * 104729 + seed * 1299709) % 61
        return int(min(255, max(0, 100 + wave + noise)))

    picture = Image.new("L", (width, height))
    picture.putdata([value(x, y) for y in range(height) for x in range(width)])
    return picture


M64 = (1 << 64) - 1
JOINERS = set("'\u2019\u02bc\u00ad\u2060\ufeff") | {chr(c) for c in range(0x200B, 0x2010)}


def fnv(state, c):
    for byte in c.encode():
        state = (state ^ byte) * 0x100000001B3 & M64
    return state


def weight(c):
    o = ord(c)
    if 0x3005 <= o <= 0x312F or 0x3400 <= o <= 0x9FFF or 0x20000 <= o < 0x40000:
        return 2
    return 1 if 0xE00 <= o <= 0x109F or 0x1780 <= o <= 0x17FF else None


def units(text):
    done, word = [], None
    for c in unicodedata.normalize("NFKD", text).upper().lower() + " ":
        if c in JOINERS or unicodedata.category(c).startswith("M"):
            continue
        letter = c.isalnum()
        if word is not None and not (letter and weight(c) is None):
            done.append((word, 4))
            word = None
        if letter and weight(c) is not None:
            done.append((fnv(0xCBF29CE484222325, c), weight(c)))
        elif letter:
            word = fnv(0xCBF29CE484222325 if word is None else word, c)
    return done


def mix(state):
    state = (state + 0x9E3779B97F4A7C15) & M64
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & M64
    state = (state ^ (state >> 27)) * 0x94D049BB133111EB & M64
    return state ^ (state >> 31)


def winnowed(text):
    """Rising hashes of the shingles that winnowing keeps."""
    all_units = units(text)
    shingles = []
    for start in range(len(all_units)):
        state = total = 0
        for unit, heavy in all_units[start:]:
            state, total = mix(state ^ unit), total + heavy
            if total >= 20:
                shingles.append(state)
                break
    width = min(4, len(shingles))
    windows = [shingles[n : n + width] for n in range(len(shingles) - width + 1)] if width else []
    return [str(one) for one in sorted({min(window) for window in windows})]


def main():
    drawings = []
    for seed in range(8):
        square, wide = drawn(32, 32, seed), drawn(17, 16, seed)
        drawings.append({
            "square": square.tobytes().hex(),
            "perceptual": perceptual(square),
            "wide": wide.tobytes().hex(),
            "difference": difference(wide),
        })
    photographs = []
    for path in PHOTOGRAPHS:
        picture = Image.open(ROOT / path).convert("RGB")
        photographs.append({"path": path, "perceptual": perceptual(picture), "difference": difference(picture)})
    texts = [{"text": text, "hashes": winnowed(text)} for text in TEXTS]
    golden = {"drawings": drawings, "photographs": photographs, "texts": texts}
    (HERE / "golden.json").write_text(json.dumps(golden, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    main()
