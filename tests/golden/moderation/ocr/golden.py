#!/usr/bin/env python3
"""Draws the pictures of this folder and writes expected.json: what rapidocr reads in them, and what its steps give.

usage: golden.py DejaVuSans.ttf NotoSansCJKtc-Regular.otf

Needs rapidocr==3.10.0, onnxruntime==1.32.0, pillow==13.0.0, segno==1.6.6. The fonts were DejaVu 2.37 and, out of the
package cvttf-notosanscjk-regular 1.0, Noto Sans CJK (SIL Open Font License).

rapidocr runs with the limits that Atelier has: the longer side at most 1,280 pixels and never enlarged, no classifier of
lines that stand upside down.
"""

import json
import os
import sys

import numpy as np
import segno
from PIL import Image, ImageDraw, ImageFont
from rapidocr import RapidOCR
from rapidocr.ch_ppocr_det.utils import DBPostProcess
from rapidocr.utils.process_img import get_rotate_crop_image

HERE = os.path.dirname(os.path.abspath(__file__))
LATIN, CHINESE = (lambda size, path=path: ImageFont.truetype(path, size) for path in sys.argv[1:3])

OCR = RapidOCR(
    params={"Global.log_level": "error", "Global.use_cls": False, "Det.limit_type": "max", "Det.limit_side_len": 1280}
)


def page(size, lines, background="white", colour="black"):
    """Lines as (left, top, text, font)."""
    picture = Image.new("RGB", size, background)
    draw = ImageDraw.Draw(picture)
    for left, top, text, font in lines:
        draw.text((left, top), text, fill=colour, font=font)
    return picture


def gradient(size):
    across = np.linspace(40, 200, size[0])[None, :, None]
    down = np.linspace(0, 55, size[1])[:, None, None]
    return Image.fromarray((across + down + np.array([0, -20, 10])).clip(0, 255).astype(np.uint8))


def tilted():
    layer = page((420, 60), [(10, 10, "The tide turns at seven", LATIN(30))])
    turned = layer.rotate(12, resample=Image.BICUBIC, expand=True, fillcolor="white")
    picture = Image.new("RGB", (512, 224), "white")
    picture.paste(turned, (40, 30))
    return picture


def on_gradient():
    picture = gradient((500, 300))
    draw = ImageDraw.Draw(picture)
    draw.text((30, 60), "Fresh bread every morning", fill="white", font=LATIN(28))
    draw.text((60, 180), "每天早晨新鲜面包", fill="black", font=CHINESE(40))
    return picture


def code(payload, scale):
    matrix = np.array([list(row) for row in segno.make(payload, error="m", micro=False).matrix], dtype=np.uint8)
    cells = np.kron(np.pad(matrix, 4), np.ones((scale, scale), dtype=np.uint8))
    return Image.fromarray(255 * (1 - cells)).convert("RGB")


def with_code(payload, caption):
    picture = page((480, 320), [(190, 40, caption, LATIN(22))])
    picture.paste(code(payload, 4), (20, 100))
    return picture


INSULT = "You are a worthless piece of shit,"
PICTURES = {
    "english.png": page(
        (640, 320),
        [(40, 30, "The library opens at nine.", LATIN(32)), (40, 120, "Story hour: Tuesday, 15:30", LATIN(24)),
         (40, 220, "Room 4", LATIN(28)), (360, 222, "First floor", LATIN(28))],
    ),
    "chinese.png": page(
        (576, 256), [(30, 30, "今天天气很好", CHINESE(48)), (30, 130, "我們一起去公園散步吧。", CHINESE(32))]
    ),
    "mixed.png": on_gradient(),
    "tilted.png": tilted(),
    "small.png": page((300, 100), [(8, 12, "Terms apply, see page 12", LATIN(12)), (8, 50, "小字也要能读", CHINESE(14))]),
    "strip.png": page((700, 26), [(6, 2, "One long line in a flat strip of a picture", LATIN(18))]),
    "large.png": page((1800, 900), [(100, 200, "Poster in large letters", LATIN(130)), (120, 600, "and smaller ones", LATIN(44))]),
    "downwards.png": page((128, 416), [(40, 16 + 62 * n, sign, CHINESE(48)) for n, sign in enumerate("高高兴兴上班")]),
    "insult.png": page(
        (640, 192), [(20, 30, INSULT, LATIN(28)), (20, 100, "shut the fuck up, everybody hates you.", LATIN(28))]
    ),
    "code.png": with_code("Write to jane.doe@example.com", "Scan me"),
    "blank.png": gradient((320, 240)),
}


def read(path):
    # Of a picture with a palette rapidocr would take the indices for grey.
    result = OCR(Image.open(path).convert("RGB"))
    if result.txts is None:
        return []
    rows = zip(result.txts, result.scores, result.boxes.tolist())
    return [{"text": text, "score": round(score, 4), "box": box} for text, score, box in rows]


def soft_rectangle(size, centre, sides, degrees):
    """1 inside a turned rectangle, falling to 0 over four pixels at its border."""
    y, x = np.mgrid[: size[1], : size[0]].astype(np.float64)
    turn = np.deg2rad(degrees)
    along = (x - centre[0]) * np.cos(turn) + (y - centre[1]) * np.sin(turn)
    across = -(x - centre[0]) * np.sin(turn) + (y - centre[1]) * np.cos(turn)
    outside = np.maximum(np.abs(along) - sides[0] / 2, np.abs(across) - sides[1] / 2)
    return np.clip(0.5 - outside / 4, 0, 1)


def boxes():
    """What the steps after the detector make of a map: saved as grey, 255 for 1."""
    size = (320, 192)
    rectangles = [((80, 40), (100, 14), 0), ((230, 45), (120, 16), 9), ((100, 120), (150, 12), -25), ((270, 140), (10, 60), 3),
                  ((30, 170), (3, 3), 0), ((200, 170), (60, 10), 0)]
    values = np.max([soft_rectangle(size, *one) for one in rectangles[:5]], axis=0)
    # A faint one, which the mean of its pixels rules out.
    values = np.maximum(values, 0.4 * soft_rectangle(size, *rectangles[5]))
    grey = np.round(values * 255).astype(np.uint8)
    Image.fromarray(grey).save(os.path.join(HERE, "map.png"))
    process = DBPostProcess(thresh=0.3, box_thresh=0.5, max_candidates=1000, unclip_ratio=1.6, use_dilation=True)
    found, scores = process((grey / np.float32(255)).astype(np.float32)[None, None], (2 * size[1], 2 * size[0]))
    order = np.argsort(found[:, :, 1].mean(axis=1))
    return [{"box": found[n].tolist(), "score": round(float(scores[n]), 4)} for n in order]


def line():
    """A line cut out of a picture of waves (blue, green, red) and laid level, as the recogniser reads it: some values."""
    quad = [[52.0, 118.0], [440.0, 36.0], [449.0, 78.0], [61.0, 160.0]]
    y, x = np.mgrid[:224, :512]
    waves = np.stack([np.sin((x + y) / 23), np.sin(y / 13), np.sin(x / 17)], axis=-1)
    picture = np.round(128 + 100 * waves).astype(np.uint8)
    cut = get_rotate_crop_image(picture, np.array(quad, dtype=np.float32))
    OCR._load_rec_model()
    values = OCR.text_rec.resize_norm_img(cut, 640 / 48)
    width = int(np.ceil(48 * cut.shape[1] / cut.shape[0]))
    at = [[channel, row, column] for channel in range(3) for row in (4, 20, 24, 40) for column in range(5, width - 5, 20)]
    return {"quad": quad, "width": width, "at": at, "values": [round(float(values[tuple(place)]), 4) for place in at]}


def main():
    expected = {"pictures": {}}
    for name, picture in PICTURES.items():
        path = os.path.join(HERE, name)
        picture.quantize(256 if name in ("mixed.png", "blank.png") else 16).save(path, optimize=True)
        expected["pictures"][name] = read(path)
    expected["boxes"] = boxes()
    expected["line"] = line()
    with open(os.path.join(HERE, "expected.json"), "w", encoding="utf-8") as file:
        json.dump(expected, file, ensure_ascii=False, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
