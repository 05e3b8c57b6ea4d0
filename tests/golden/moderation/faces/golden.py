"""Makes the pictures and the expected faces of the tests: python golden.py PACKAGE

PACKAGE is the unpacked npm package @mediapipe/face_detection@0.4.1657300184. Its face_detection_full_range.tflite is run by
the interpreter that it was made for, with pictures cut and boxes joined as services/moderation/src/detector/faces does.

astronaut.jpg is NASA's portrait of Eileen Collins, in the public domain, as scikit-image carries it; group.jpg is made of it.

Needs ai-edge-litert==2.3.0, numpy==2.4.6, pillow==13.0.0, scikit-image==0.26.0.
"""

import json
import sys
from pathlib import Path

import numpy as np
import skimage
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

FOLDER = Path(__file__).parent
# What the model reads, its grid, and how much neighbouring tiles share, in pixels.
SIDE, STRIDE, OVERLAP = 192, 4, 48
# Longer side at which a larger picture is cut into tiles.
LARGE = 480
LEAST_SCORE, LEAST_OVERLAP = 0.6, 0.3
# Left, top and width of the portraits in group.jpg.
PORTRAITS = [(0, 0, 400), (420, 40, 300), (740, 0, 360), (60, 420, 330), (400, 360, 420), (830, 380, 300)]


class Detector:
    def __init__(self, package):
        self._model = Interpreter(str(Path(package) / "face_detection_full_range.tflite"))
        self._model.allocate_tensors()

    def cells(self, pixels):
        """Box and logit of each cell."""
        self._model.set_tensor(self._model.get_input_details()[0]["index"], np.float32(pixels)[None] / 127.5 - 1)
        self._model.invoke()
        outputs = [self._model.get_tensor(output["index"])[0] for output in self._model.get_output_details()]
        boxes, logits = sorted(outputs, key=lambda output: -output.shape[1])
        return boxes[:, :4], logits[:, 0]

    def boxes(self, picture):
        """Left, top, right, bottom and score of all boxes that may be faces."""
        found = []
        for level in [SIDE, LARGE] if max(picture.size) > LARGE else [SIDE]:
            size = [max(1, round(side * level / max(picture.size))) for side in picture.size]
            resized = picture.resize(size, Image.Resampling.BILINEAR)
            for left in starts(size[0]):
                for top in starts(size[1]):
                    # At the middle where the picture is smaller.
                    canvas = Image.new("RGB", (SIDE, SIDE))
                    before = tuple(max(0, SIDE - side) // 2 for side in size)
                    canvas.paste(resized.crop((left, top, min(left + SIDE, size[0]), min(top + SIDE, size[1]))), before)
                    found += self._tile(canvas, (left, top), before, size, picture.size)
        return found

    def _tile(self, canvas, start, before, size, whole):
        boxes, logits = self.cells(np.asarray(canvas))
        for n in np.flatnonzero(logits > np.log(LEAST_SCORE / (1 - LEAST_SCORE))):
            middle = np.array([n % (SIDE // STRIDE), n // (SIDE // STRIDE)]) * STRIDE + STRIDE / 2 + boxes[n, :2]
            low, high = middle - boxes[n, 2:] / 2, middle + boxes[n, 2:] / 2
            # What reaches over an edge where the picture goes on is whole in another tile.
            inner = [axis for axis in (0, 1) if start[axis] > 0 and low[axis] < 0]
            inner += [axis for axis in (0, 1) if start[axis] + SIDE < size[axis] and high[axis] > SIDE]
            if inner or min(boxes[n, 2:]) <= 0:
                continue
            scale = np.array(whole) / size
            edges = [(place - before + start) * scale for place in (low, high)]
            yield [*np.concatenate(edges).tolist(), 1 / (1 + np.exp(-float(logits[n])))]


def starts(side):
    """Where tiles begin along a side."""
    count = 1 if side <= SIDE else -(-(side - OVERLAP) // (SIDE - OVERLAP))
    return [round(n * (side - SIDE) / (count - 1)) for n in range(count)] if count > 1 else [0]


def joined(boxes):
    """One box for each face: the mean of those that overlap with the likeliest, weighted by their scores."""
    rest, faces = sorted(boxes, key=lambda box: -box[4]), []
    while rest:
        same = [box for box in rest if box is rest[0] or overlap(box, rest[0]) > LEAST_OVERLAP]
        rest, likeliest = [box for box in rest if box not in same], rest[0]
        faces.append([*np.average([box[:4] for box in same], axis=0, weights=[box[4] for box in same]), likeliest[4]])
    return faces


def overlap(a, b):
    """The share of both that both have."""
    width, height = (max(0, min(a[axis + 2], b[axis + 2]) - max(a[axis], b[axis])) for axis in (0, 1))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


def main():
    portrait = Image.open(Path(skimage.__file__).parent / "data" / "astronaut.png").convert("RGB")
    portrait.save(FOLDER / "astronaut.jpg", quality=85)
    group = Image.new("RGB", (1200, 800), (96, 110, 120))
    for left, top, width in PORTRAITS:
        group.paste(portrait.resize((width, width), Image.Resampling.LANCZOS), (left, top))
    group.save(FOLDER / "group.jpg", quality=80)

    detector, expected = Detector(sys.argv[1]), {}
    for name in ("astronaut.jpg", "group.jpg", "../../image/pictures/coffee.png"):
        faces = joined(detector.boxes(Image.open(FOLDER / name).convert("RGB")))
        expected[name] = [[round(value, 3) for value in face] for face in faces]
    (FOLDER / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
