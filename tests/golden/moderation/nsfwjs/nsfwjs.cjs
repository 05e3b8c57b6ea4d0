// Writes what nsfwjs itself says of six small pictures: node nsfwjs.cjs
//
// All are PNG without transparency: JPEG decoders differ by enough to move the scores. Two are photographs given to the
// public domain, which lie with the image service's (see understanding.py there), two are drawn, and two are cut out of the
// photographs where the model is badly wrong, because scores near 0 tell little. TensorFlow.js runs on its own processor
// backend. Needs nsfwjs@4.3.0, @tensorflow/tfjs@4.22.0, pngjs@7.0.0.

const fs = require("fs");
const path = require("path");
const tf = require("@tensorflow/tfjs");
const nsfwjs = require("nsfwjs");
const { PNG } = require("pngjs");

const GOLDEN = path.resolve(__dirname, "../..");
const PICTURES = [
  "image/pictures/cat.png",
  "image/pictures/coffee.png",
  "moderation/images/noise.png",
  "moderation/images/shapes.png",
];

/** What is cut out of a picture: left, top, right, bottom. */
const CUTTINGS = {
  "moderation/nsfwjs/fur.png": ["image/pictures/cat.png", 213, 30, 307, 114],
  "moderation/nsfwjs/cup.png": ["image/pictures/coffee.png", 185, 29, 256, 90],
};

function cut(to, [from, left, top, right, bottom]) {
  const whole = PNG.sync.read(fs.readFileSync(path.join(GOLDEN, from)));
  const part = new PNG({ width: right - left, height: bottom - top, colorType: 2 });
  PNG.bitblt(whole, part, left, top, right - left, bottom - top, 0, 0);
  fs.writeFileSync(path.join(GOLDEN, to), PNG.sync.write(part, { colorType: 2 }));
}

/** A picture as a tensor [height, width, 3] of whole numbers. */
function read(name) {
  const { width, height, data } = PNG.sync.read(fs.readFileSync(path.join(GOLDEN, name)));
  return tf.tensor3d(data.filter((_, at) => at % 4 < 3), [height, width, 3], "int32");
}

async function main() {
  await tf.setBackend("cpu");
  const model = await nsfwjs.load("MobileNetV2");
  const pictures = {};
  for (const [to, from] of Object.entries(CUTTINGS)) cut(to, from);
  for (const name of [...PICTURES, ...Object.keys(CUTTINGS)]) {
    const classes = await model.classify(read(name), 5);
    pictures[name] = Object.fromEntries(
      classes.map(({ className, probability }) => [className.toLowerCase(), Number(probability.toFixed(6))]).sort(),
    );
  }
  fs.writeFileSync(path.join(__dirname, "expected.json"), JSON.stringify(pictures, null, 1) + "\n");
}

main();
