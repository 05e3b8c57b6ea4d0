"""Writes what the upscalers make of a small part of a drawing: python upscaling.py

The part is larger than what a pixel can see, so tiles can be compared with a run over the whole. Pixels are rounded to
0..255. Needs numpy==2.4.6, onnxruntime==1.32.0, pillow==13.0.0.
"""

import json
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

HERE = Path(__file__).resolve().parent
WEIGHTS = HERE.parents[2] / "deploy" / "models" / "weights"
PICTURE, PART = "../moderation/images/shapes.png", (40, 80, 104, 128)
FACTORS = (2, 4)
# Rows and columns of the result whose pixels are kept, as parts of its height and width.
PLACES = np.linspace(0, 1, 9)
# In steps of 255: sums of float32 differ with the processor.
TOLERANCE = 1


def main() -> None:
    part = Image.open(HERE / PICTURE).convert("RGB").crop(PART)
    planes = np.asarray(part, np.float32).transpose(2, 0, 1)[None] / 255
    results = []
    for factor in FACTORS:
        model = f"emoji-upscale-x{factor}"
        session = onnxruntime.InferenceSession(str(WEIGHTS / model / "model.onnx"), providers=["CPUExecutionProvider"])
        (upscaled,) = session.run(["upscaled"], {"image": planes})
        pixels = (upscaled[0].transpose(1, 2, 0) * 255).round().astype(int)
        height, width = pixels.shape[:2]
        samples = []
        for down in PLACES:
            for across in PLACES:
                row, column = round(down * (height - 1)), round(across * (width - 1))
                samples.append([row, column, *pixels[row, column].tolist()])
        mean = round(float(pixels.mean()), 4)
        results.append({"model": model, "width": width, "height": height, "mean": mean, "samples": samples})
    document = {"picture": PICTURE, "part": PART, "tolerance": TOLERANCE, "results": results}
    # A sample, which is row, column, red, green and blue, to a line.
    text = json.dumps(document).replace(" [[", "\n[[").replace("], [", "],\n[").replace("}, {", "},\n{")
    (HERE / "upscaling.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
