"""Writes cross-encoder/: a tiny BERT with random weights that scores pairs of texts, as Optimum exports it, and golden.json: what
transformers makes of a query and documents, longer ones cut as its tokenizer cuts them.

Usage: python cross_encoder.py FOLDER, with torch, transformers<5 and optimum-onnx from PyPI.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import torch
from optimum.exporters.onnx import main_export
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

SPECIAL_TOKENS = ["[PAD]", "[CLS]", "[SEP]"]
MAX_LENGTH = 96
QUERY = "Where does the ferry land?"
DOCUMENTS = [
    "The ferry lands at the old quay.",
    "Apples are ripe in September.",
    "",
    "渡船停在旧码头。",
    "The harbour office sells tickets for the ferry, and also for the small boats that go out to the islands.",
    "x",
]


def tokenizer():
    """Bytes, with the special tokens of BERT around a text or a pair."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE(vocab={spelling: n for n, spelling in enumerate(alphabet)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(SPECIAL_TOKENS)
    start, end = ((token, inner.token_to_id(token)) for token in SPECIAL_TOKENS[1:])
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[start, end]
    )
    names = dict(pad_token=SPECIAL_TOKENS[0], cls_token=SPECIAL_TOKENS[1], sep_token=SPECIAL_TOKENS[2])
    return PreTrainedTokenizerFast(tokenizer_object=inner, **names)


def main():
    torch.set_num_threads(1)
    torch.manual_seed(20240607)
    target = Path(sys.argv[1]) / "cross-encoder"
    shutil.rmtree(target, ignore_errors=True)
    config = BertConfig(
        vocab_size=256 + len(SPECIAL_TOKENS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=MAX_LENGTH,
        initializer_range=0.4,
        num_labels=1,
    )
    model = BertForSequenceClassification(config).eval()
    spelled = tokenizer()
    with tempfile.TemporaryDirectory() as work:
        model.save_pretrained(work)
        spelled.save_pretrained(work)
        main_export(work, str(target), task="text-classification", do_validation=False)
    inputs = spelled(
        [QUERY] * len(DOCUMENTS),
        DOCUMENTS,
        padding=True,
        truncation="only_second",
        max_length=MAX_LENGTH,
        return_tensors="pt",
        return_token_type_ids=True,
    )
    with torch.no_grad():
        scores = torch.sigmoid(model(**inputs).logits)[:, 0].tolist()
    whole = [len(ids) for ids in spelled([QUERY] * len(DOCUMENTS), DOCUMENTS)["input_ids"]]
    golden = {
        "query": QUERY,
        "max_length": MAX_LENGTH,
        "documents": [
            {"text": text, "score": score, "tokens": min(tokens, MAX_LENGTH), "truncated": tokens > MAX_LENGTH}
            for text, score, tokens in zip(DOCUMENTS, scores, whole)
        ],
    }
    with open(target / "golden.json", "w", encoding="utf-8") as file:
        json.dump(golden, file, ensure_ascii=False, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
