"""Writes sentence-encoders/: a tiny BERT with random weights in folders as sentence-transformers and Optimum write them, one for each
way of pooling, and golden.json: the vectors that sentence-transformers makes of texts with each folder, one text at a time.

Each folder but `whole` has the graph that sentence-transformers exports (`onnx/model.onnx`, a vector for each token). Half of them have
their settings as versions before 5 wrote them. `whole` is Optimum's graph of all modules, a dense layer among them.

Usage: python sentence_encoders.py FOLDER, with torch, transformers<5, optimum-onnx, onnxruntime and sentence-transformers<6 from PyPI.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import torch
from optimum.exporters.onnx import main_export
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer
from tokenizers import Tokenizer
from transformers import BertConfig, BertModel

from cross_encoder import SPECIAL_TOKENS, tokenizer

HIDDEN = 16
POSITIONS = 64
TEXTS = [
    "The ferry lands at the old quay.",
    "Apples are RIPE in September.",
    "",
    "渡船停在旧码头。",
    "x",
    "The harbour office sells tickets for the ferry, and also for the small boats that go out to the islands.",
]
# Modes of pooling, whether vectors are scaled to length 1, and what else is set.
FOLDERS = {
    "mean": (["mean"], True, {"model_max_length": 24}),
    "max": (["max"], False, {}),
    "weighted-mean": (["weightedmean"], True, {"prompts": {"passage": "p: "}, "default_prompt_name": "passage"}),
    "listed": (["lasttoken", "cls"], False, {"model_max_length": 40}),
}
FOLDERS_BEFORE_5 = {
    "cls": (["cls_token"], False, {"max_seq_length": 24}),
    "mean-sqrt-length": (["mean_sqrt_len_tokens"], False, {"max_seq_length": None}),
    "last-token": (["lasttoken"], True, {"max_seq_length": 40, "do_lower_case": True}),
    "joined": (["cls_token", "max_tokens", "mean_tokens", "weightedmean_tokens"], False, {"max_seq_length": 24}),
}
KEYS_BEFORE_5 = ["cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken"]


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def edit(path, **settings):
    write(path, json.loads(path.read_text(encoding="utf-8")) | settings)


def make(folder, weights, pooling, normalise, settings):
    modules = [Transformer(str(weights)), Pooling(HIDDEN, pooling)] + [Normalize()] * normalise
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(folder), create_model_card=False)
    length = settings.get("model_max_length")
    if length is None:
        # As transformers writes it where nothing is known.
        length = 1000000000000000019884624838656
    edit(folder / "tokenizer_config.json", model_max_length=length)
    prompts = {key: settings[key] for key in ("prompts", "default_prompt_name") if key in settings}
    edit(folder / "config_sentence_transformers.json", **prompts)
    # Some tokenizers are saved as they were used last; sentence-transformers does not heed it.
    spoilt = Tokenizer.from_file(str(folder / "tokenizer.json"))
    spoilt.enable_truncation(8)
    spoilt.enable_padding(length=32, pad_token=SPECIAL_TOKENS[0])
    spoilt.save(str(folder / "tokenizer.json"))


def make_as_before_5(folder, weights, pooling, normalise, settings):
    make(folder, weights, "mean", normalise, {})
    (folder / "config_sentence_transformers.json").unlink()
    names = ["Transformer", "Pooling"] + ["Normalize"] * normalise
    paths = [""] + [f"{place}_{name}" for place, name in enumerate(names)][1:]
    write(
        folder / "modules.json",
        [
            {"idx": place, "name": str(place), "path": path, "type": f"sentence_transformers.models.{name}"}
            for place, (name, path) in enumerate(zip(names, paths))
        ],
    )
    modes = {f"pooling_mode_{key}": key in pooling for key in KEYS_BEFORE_5}
    write(folder / "1_Pooling/config.json", {"word_embedding_dimension": HIDDEN} | modes | {"include_prompt": True})
    write(folder / "sentence_bert_config.json", {"max_seq_length": None, "do_lower_case": False} | settings)


def make_whole(folder, weights):
    """Optimum's export of all modules, and the vectors of the model that it is of."""
    dense = Dense(HIDDEN, 8, activation_function=torch.nn.Tanh())
    modules = [Transformer(str(weights)), Pooling(HIDDEN, "mean"), dense, Normalize()]
    model = SentenceTransformer(modules=modules, device="cpu")
    with tempfile.TemporaryDirectory() as saved:
        model.save_pretrained(saved, create_model_card=False)
        main_export(saved, str(folder), task="feature-extraction", library_name="sentence_transformers", do_validation=False)
        for name in ("modules.json", "sentence_bert_config.json"):
            shutil.copy(Path(saved) / name, folder / name)
    return vectors(model)


def vectors(model):
    made = [model.encode(text, convert_to_numpy=True).tolist() for text in TEXTS]
    prompt = model.prompts.get(model.default_prompt_name, "")
    lengths = [len(model.tokenizer(prompt + text, truncation=False)["input_ids"]) for text in TEXTS]
    limit = model.max_seq_length if model.max_seq_length <= POSITIONS else POSITIONS
    return {
        "max_length": limit,
        "tokens": [min(length, limit) for length in lengths],
        "vectors": [[round(value, 7) for value in vector] for vector in made],
    }


def main():
    torch.set_num_threads(1)
    torch.manual_seed(20240607)
    target = Path(sys.argv[1]) / "sentence-encoders"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    config = BertConfig(
        vocab_size=256 + len(SPECIAL_TOKENS),
        hidden_size=HIDDEN,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=POSITIONS,
        initializer_range=0.4,
    )
    golden = {}
    with tempfile.TemporaryDirectory() as work:
        weights, graph = Path(work) / "weights", Path(work) / "graph"
        BertModel(config).eval().save_pretrained(weights)
        tokenizer().save_pretrained(weights)
        exported = SentenceTransformer(modules=[Transformer(str(weights), backend="onnx"), Pooling(HIDDEN)], device="cpu")
        exported.save_pretrained(str(graph), create_model_card=False)
        for makes, folders in ((make, FOLDERS), (make_as_before_5, FOLDERS_BEFORE_5)):
            for name, (pooling, normalise, settings) in folders.items():
                folder = target / name
                makes(folder, weights, pooling, normalise, settings)
                golden[name] = vectors(SentenceTransformer(str(folder), device="cpu"))
                (folder / "model.safetensors").unlink()
                shutil.copytree(graph / "onnx", folder / "onnx")
        golden["whole"] = make_whole(target / "whole", weights)
    with open(target / "golden.json", "w", encoding="utf-8") as file:
        models = ",\n".join(f" {json.dumps(name)}: {json.dumps(made)}" for name, made in golden.items())
        file.write(f'{{"texts": {json.dumps(TEXTS, ensure_ascii=False)},\n"models": {{\n{models}\n}}}}\n')


if __name__ == "__main__":
    main()
