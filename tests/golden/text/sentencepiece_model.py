"""Writes gguf/llama-spm.gguf: a tiny llama with random weights and a SentencePiece vocabulary, as llama.cpp's converter
leaves it; into hub/ the folder that our converter makes of it; and gguf/sentencepiece.json: what SentencePiece makes of
hard strings.

The vocabulary is trained on LICENSE and the hard strings of gguf_models.py. Its pieces of spaces all have one score, as
those of Llama and Mistral do. The strings come in three sets of (text, ids):

    prefixed   by the sentencepiece library, for a vocabulary with add_dummy_prefix
    bare       the same without, with user-defined symbols in the texts
    special    with user-defined symbols and control tokens, by what transformers makes of its LlamaTokenizer (legacy),
               as these families' tokenizer.json are made

greedy.json gets what transformers writes with the same weights, as for the other folders.

Usage: python sentencepiece_model.py FOLDER, with what gguf_models.py needs and sentencepiece; FOLDER is that of hub/ and
gguf/.
"""

import io
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import gguf
import sentencepiece
import torch
from sentencepiece import sentencepiece_model_pb2
from transformers import LlamaConfig, LlamaTokenizer, PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import convert_slow_tokenizer

from gguf_models import CONVERTER, HARD, LEAST_MARGIN, WIDTHS, random_model, write
from tiny import by_transformers, cases, conversation, record

NAME = "llama-spm"
LICENSE = Path(__file__).resolve().parents[3] / "LICENSE"
VOCABULARY = 640
UNKNOWN, START, END = range(3)
USER_DEFINED = ["<|user|>", "<|assistant|>", "<|", "\U0001f680", "don't", "[REF]", "[REF]s"]
# Pieces would join to the second if control tokens were made like others.
CONTROL = ["<ctl>", "ing]"]
SPACE = "\u2581"
# Below that of any other piece.
SCORE_OF_SPACES = -1e9
SEED = 11
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\n' + message['content'] + eos_token + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)

COUNTS = {"prefixed": 2000, "bare": 400, "special": 150}
# Letters of several scripts, marks, symbols, emoji with what joins them, controls, the mark for spaces itself.
ALPHABET = (
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,;:!?'\"()[]<>|/\\-_=+*&%$#@~^`{}"
    "àéîõüßøłčşžαβγωдЖяאשםابجنमतस्กขคเ你世界日本語ひカ한국어—“”€½²"
    "\u0301\u0308\u200d\ufe0f\u00a0\u2003\ufeff\u3000\u2026\x00\x07\t\r\n"
    "\U0001f600\U0001f680\U0001f468\U0001f469\U0001f1e9\U0001f1ea\U0001d54f" + SPACE
)
SPELLINGS = ["<s>", "</s>", "<unk>", "<ctl>", "ing]", "<0x0A>", "<0xE2>", "<|", "|>", "[REF", "]"]


def train():
    """SentencePiece's description of the vocabulary."""
    lines = LICENSE.read_text("utf-8").splitlines() + [line for text in HARD for line in text.splitlines()] * 3
    trained = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=trained,
        model_type="bpe",
        vocab_size=VOCABULARY,
        character_coverage=0.98,
        byte_fallback=True,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        control_symbols=CONTROL,
        user_defined_symbols=USER_DEFINED,
        num_threads=1,
        minloglevel=2,
    )
    described = sentencepiece_model_pb2.ModelProto.FromString(trained.getvalue())
    for piece in described.pieces:
        if set(piece.piece) == {SPACE}:
            piece.score = SCORE_OF_SPACES
    return described


def texts(pieces, parts):
    """Hard strings without end: letters by chance, pieces and `parts` side by side, repetitions, spaces in a row."""
    chance = random.Random(1)
    pieces = [piece.replace(SPACE, " ") for piece in pieces]
    yield from HARD
    while True:
        unit = chance.choice([*pieces, *parts])[:6]
        spaces = " " * chance.randrange(20)
        yield "".join(chance.choices(ALPHABET, k=chance.randrange(1, 12)))
        yield "".join(chance.choices([*pieces, *parts, " "], k=chance.randrange(1, 8)))
        yield "".join(chance.choices("ab \n" if chance.random() < 0.5 else "it ", k=chance.randrange(1, 20)))
        yield spaces[:3] + unit * chance.randrange(1, 6) + unit[:2] + spaces
        yield spaces + chance.choice(pieces) + "\n" * chance.randrange(3) + "  " + chance.choice(parts)


def strings(described, split):
    """The three sets; `split` is the reference of the last."""
    pieces = [piece.piece for piece in described.pieces if piece.type == piece.NORMAL]

    def chosen(name, parts, fits, encode):
        found = {}
        for text in texts(pieces, parts):
            if fits(text):
                found[text] = encode(text)
            if len(found) == COUNTS[name]:
                return list(found.items())

    def reference(prefix):
        described.normalizer_spec.add_dummy_prefix = prefix
        return sentencepiece.SentencePieceProcessor(model_proto=described.SerializeToString()).encode

    def holds(text, spellings):
        return any(spelling in text for spelling in spellings)

    special = [*USER_DEFINED, *CONTROL, "<s>", "</s>"]
    return {
        "prefixed": chosen("prefixed", SPELLINGS, lambda text: not holds(text, USER_DEFINED), reference(True)),
        "bare": chosen("bare", SPELLINGS + USER_DEFINED, lambda text: True, reference(False)),
        "special": chosen("special", special, lambda text: holds(text, special), split),
    }


def write_tokenizer(described):
    def into(_, writer):
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        writer.add_token_list([piece.piece.encode("utf-8") for piece in described.pieces])
        writer.add_token_scores([piece.score for piece in described.pieces])
        writer.add_token_types([piece.type for piece in described.pieces])
        writer.add_bos_token_id(START)
        writer.add_eos_token_id(END)
        writer.add_unk_token_id(UNKNOWN)
        writer.add_add_bos_token(True)
        writer.add_add_eos_token(False)
        writer.add_add_space_prefix(True)
        writer.add_chat_template(TEMPLATE)

    return into


def main():
    torch.set_num_threads(1)
    target = Path(sys.argv[1])
    described = train()
    with tempfile.TemporaryDirectory() as work:
        model_file = Path(work) / "tokenizer.model"
        model_file.write_bytes(described.SerializeToString())
        inner = convert_slow_tokenizer(LlamaTokenizer(str(model_file), legacy=True))
    spelled = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>")
    spelled.chat_template = TEMPLATE

    ends = dict(bos_token_id=START, eos_token_id=END)
    config = LlamaConfig(rope_theta=10000.0, **(WIDTHS | ends | dict(vocab_size=len(described.pieces))))
    model = random_model(config, SEED)
    plain = [index for index, piece in enumerate(described.pieces) if piece.type == piece.NORMAL]
    with torch.no_grad():
        # Bytes by chance are no text.
        for index, piece in enumerate(described.pieces):
            if piece.type == piece.BYTE:
                model.lm_head.weight[index] = 0
    file, folder = target / f"gguf/{NAME}.gguf", target / f"hub/gguf-{NAME}"
    write("llama", model, file, write_tokenizer(described))
    subprocess.run([sys.executable, CONVERTER, file, folder, "--mode", "f32", "--layout", "hub"], check=True)
    answer = by_transformers(model)
    golden = {
        "cases": list(cases(answer, LEAST_MARGIN, range(plain[0], plain[-1] + 1))),
        "conversation": conversation(answer, LEAST_MARGIN, spelled, END),
    }
    record(target / "hub", {folder.name: golden})
    known = {
        "tokens": [piece.piece for piece in described.pieces],
        "scores": [piece.score for piece in described.pieces],
        "token_type": [piece.type for piece in described.pieces],
        **strings(described, lambda text: spelled.encode(text, add_special_tokens=False)),
    }
    with open(target / "gguf/sentencepiece.json", "w", encoding="utf-8") as out:
        json.dump(known, out, ensure_ascii=False, separators=(",", ":"))
        out.write("\n")


if __name__ == "__main__":
    main()
