"""Rebuilds the hub's tokenizer.json from a GGUF file's metadata."""

from dataclasses import dataclass

from gguf import TokenType
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

import gguf_sentencepiece
from gguf_file import Refused

# Where these families cut text before byte-pair merges. OpenAI's cl100k set the form: contractions, words with what
# stands before them, numbers, punctuation with the line ends after it, white space.
TAIL = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
LLAMA3 = rf"{WORDS}|\p{{N}}{{1,3}}|{TAIL}"
QWEN2 = rf"{WORDS}|\p{{N}}|{TAIL}"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
TEKKEN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def split(pattern):
    """Cut by a pattern, then spelled as bytes."""
    return [
        pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]


def gpt2():
    """GPT-2's own pattern."""
    return [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]


@dataclass(frozen=True)
class Family:
    """How a family's tokenizers treat a text, beside their vocabulary and merges."""

    # The steps that cut it.
    cut: list
    # The form of Unicode that it is brought into first.
    normalizer: object = None
    # A piece that is a token as a whole is one, whatever the merges make of it.
    whole_pieces: bool = False
    # It begins with a start token unless the file says otherwise.
    starts: bool = False


SMOLLM = Family([pre_tokenizers.Digits(individual_digits=True), *gpt2()])
LLAMA_BPE = Family(split(LLAMA3), whole_pieces=True, starts=True)

# By the name that GGUF gives them (`tokenizer.ggml.pre`). A model of another family adds its line here.
FAMILIES = {
    "gpt-2": Family(gpt2()),
    "smollm": SMOLLM,
    "starcoder": SMOLLM,
    "llama-bpe": LLAMA_BPE,
    "llama-v3": LLAMA_BPE,
    "llama3": LLAMA_BPE,
    "qwen2": Family(split(QWEN2), normalizer=normalizers.NFC()),
    "deepseek-r1-qwen": Family(split(QWEN2)),
    "tekken": Family(split(TEKKEN), whole_pieces=True, starts=True),
}


def build(metadata):
    """The tokenizer that `metadata` (a function from key to value, or None) describes."""
    kind, tokens, kinds = (metadata(f"tokenizer.ggml.{key}") for key in ("model", "tokens", "token_type"))
    if tokens is None:
        raise Refused("the file lacks tokenizer.ggml.tokens")
    if kind == "gpt2":
        tokenizer, starts = byte_level(metadata)
    elif kind == "llama":
        tokenizer, starts = gguf_sentencepiece.build(metadata), True
    else:
        expected = "'gpt2', byte-pair merges over bytes, or 'llama', those of SentencePiece"
        raise Refused(f"tokenizer.ggml.model = {kind!r} is not supported: expected {expected}")

    def of_kinds(*wanted, special):
        pairs = zip(tokens, kinds)
        return [AddedToken(token, special=special, normalized=False) for token, kind in pairs if kind in wanted]

    tokenizer.add_special_tokens(of_kinds(TokenType.CONTROL, TokenType.UNKNOWN, special=True))
    tokenizer.add_tokens(of_kinds(TokenType.USER_DEFINED, special=False))
    around = surroundings(metadata, starts, tokens)
    if around is not None:
        tokenizer.post_processor = around
    return tokenizer


def byte_level(metadata):
    """A tokenizer of merges over bytes, and whether its texts begin with a start token unless the file says otherwise."""
    name = metadata("tokenizer.ggml.pre")
    if name not in FAMILIES:
        raise Refused(f"tokenizer.ggml.pre = {name!r} is not supported: expected one of {', '.join(FAMILIES)}")
    family = FAMILIES[name]
    tokens = metadata("tokenizer.ggml.tokens")
    kinds = metadata("tokenizer.ggml.token_type")
    # A token may begin with a space only where the file spells bytes otherwise: the first character is never the gap.
    merges = [(merge[:gap], merge[gap + 1 :]) for merge in metadata("tokenizer.ggml.merges") for gap in [merge.index(" ", 1)]]
    # Unused rows of the embedding have made-up names that no text may spell.
    vocabulary = {token: index for index, token in enumerate(tokens) if kinds[index] != TokenType.UNUSED}
    model = models.BPE(
        vocabulary, merges, fuse_unk=False, byte_fallback=False, ignore_merges=family.whole_pieces
    )
    tokenizer = Tokenizer(model)
    if family.normalizer is not None:
        tokenizer.normalizer = family.normalizer
    tokenizer.pre_tokenizer = family.cut[0] if len(family.cut) == 1 else pre_tokenizers.Sequence(family.cut)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer, family.starts


def surroundings(metadata, starts, tokens):
    """What puts a start and an end token around a text, or None."""

    def token(name, default):
        added = metadata(f"tokenizer.ggml.add_{name}_token")
        if not (default if added is None else added):
            return None
        index = metadata(f"tokenizer.ggml.{name}_token_id")
        if index is None:
            raise Refused(f"the file lacks tokenizer.ggml.{name}_token_id")
        return tokens[index], index

    first, last = token("bos", starts), token("eos", False)
    if first is None and last is None:
        return None
    before = [first[0]] if first else []
    after = [last[0]] if last else []
    return processors.TemplateProcessing(
        single=[*before, "$A", *after],
        pair=[*before, "$A", *after, *[f"{token}:1" for token in before], "$B:1", *[f"{token}:1" for token in after]],
        special_tokens=[pair for pair in (first, last) if pair],
    )
