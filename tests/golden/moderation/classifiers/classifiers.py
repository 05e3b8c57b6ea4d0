"""Writes two tiny classifiers of random weights in the layout of transformers and optimum, and what transformers makes of
some texts and pictures with them: python classifiers.py

Needs torch==2.6.0, transformers==4.57.0, tokenizers==0.22.1, onnx==1.18.0 and pillow.
"""

import json
from pathlib import Path

import onnx
import torch
from PIL import Image
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast, ViTConfig, ViTForImageClassification, ViTImageProcessor

HERE = Path(__file__).resolve().parent
TEXTS = ["you are a fool", "the sun is warm", "fool fool fool", "a warm day, you fool", "unknown words"]
WORDS = "[PAD] [UNK] [CLS] [SEP] you are a the sun is warm fool day ,".split()
PICTURES = ["../images/shapes.png", "../images/ellipses-a.jpg"]


def export(model, inputs: dict, folder: Path, axes: dict) -> None:
    path = folder / "model.onnx"
    names = list(inputs)
    torch.onnx.export(model, (inputs,), path, input_names=names, output_names=["logits"], dynamic_axes=axes, opset_version=17, dynamo=False)
    graph = onnx.load(path)
    for node in graph.graph.node:
        node.doc_string = ""
    onnx.save(graph, path)


def texts() -> list:
    folder = HERE / "text"
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]")
    torch.manual_seed(1)
    labels = {0: "clean", 1: "insult", 2: "hateful"}
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        initializer_range=0.6,
        id2label=labels,
        label2id={name: number for number, name in labels.items()},
        problem_type="multi_label_classification",
        attn_implementation="eager",
    )
    model = BertForSequenceClassification(config).eval()
    folder.mkdir(exist_ok=True)
    config.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    batch = fast(TEXTS, padding=True, return_tensors="pt")
    # In the order of the model's own arguments: the exporter names inputs by it.
    batch = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    axes = {name: {0: "batch", 1: "seq"} for name in batch} | {"logits": {0: "batch"}}
    export(model, batch, folder, axes)
    with torch.no_grad():
        return [model(**fast(text, return_tensors="pt")).logits.sigmoid()[0].tolist() for text in TEXTS]


def pictures() -> list:
    folder = HERE / "image"
    torch.manual_seed(2)
    labels = {0: "safe", 1: "gore", 2: "nude"}
    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=8,
        initializer_range=0.4,
        id2label=labels,
        label2id={name: number for number, name in labels.items()},
        attn_implementation="eager",
    )
    model = ViTForImageClassification(config).eval()
    folder.mkdir(exist_ok=True)
    config.save_pretrained(folder)
    processor = ViTImageProcessor(size={"height": 32, "width": 32}, image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.25, 0.3])
    processor.save_pretrained(folder)
    found = []
    for picture in PICTURES:
        pixels = processor(Image.open(HERE / picture).convert("RGB"), return_tensors="pt")
        with torch.no_grad():
            found.append(model(**pixels).logits.softmax(-1)[0].tolist())
    export(model, {"pixel_values": torch.rand(2, 3, 32, 32)}, folder, {"pixel_values": {0: "batch"}, "logits": {0: "batch"}})
    return found


def main() -> None:
    rounded = lambda rows: [[round(value, 6) for value in row] for row in rows]  # noqa: E731
    expected = {
        "texts": [{"text": text, "scores": row} for text, row in zip(TEXTS, rounded(texts()))],
        "pictures": [{"picture": name, "scores": row} for name, row in zip(PICTURES, rounded(pictures()))],
    }
    (HERE / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
