"""Rebuilds a SentencePiece tokenizer (that of Llama 1 and 2, TinyLlama, Mistral 7B) from a GGUF file's metadata.

SentencePiece keeps no merges. It begins with a text's characters and joins, again and again, the two neighbours whose
joint spelling is the piece of the highest score, the leftmost of equals; characters that are no piece become bytes. With
every pair that spells a piece as a merge, best score first, the tokenizers library does the same. Vocabularies with
which it would not are refused.
"""

import reprlib

from gguf import TokenType
from tokenizers import Tokenizer, decoders, models, normalizers

from gguf_file import Refused

# How pieces spell a space (U+2581).
SPACE = "▁"
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]

# Keys that say how SentencePiece treats a text, and the value that this tokenizer is right for. `pre` names a way of
# cutting text, which there is none of here.
EXPECTED = {
    "pre": "default",
    "precompiled_charsmap": [],
    "remove_extra_whitespaces": False,
}


def build(metadata):
    """The tokenizer that `metadata` (a function from key to value, or None) describes, special tokens apart."""
    for key, expected in EXPECTED.items():
        value = metadata(f"tokenizer.ggml.{key}")
        if value is not None and value != expected:
            raise Refused(f"tokenizer.ggml.{key} = {reprlib.repr(value)} is not supported: expected {expected!r}")
    tokens, scores, kinds = (metadata(f"tokenizer.ggml.{key}") for key in ("tokens", "scores", "token_type"))
    for key, values in (("scores", scores), ("token_type", kinds)):
        if values is None or len(values) != len(tokens):
            raise Refused(f"tokenizer.ggml.{key}: expected one for each of {len(tokens)} tokens")
    check_spellings(tokens, kinds)

    # Unused rows of the embedding have made-up names that no text may spell.
    vocabulary = {token: index for index, token in enumerate(tokens) if kinds[index] != TokenType.UNUSED}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges(tokens, scores, kinds), byte_fallback=True))
    spaces = normalizers.Replace(" ", SPACE)
    decoder = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    # As llama.cpp reads the key, and as these families' own tokenizer.json have it: a space is put before a text and
    # before what follows a special or user-defined token.
    if metadata("tokenizer.ggml.add_space_prefix") is not False:
        spaces = normalizers.Sequence([normalizers.Prepend(SPACE), spaces])
        decoder.append(decoders.Strip(" ", left=1, right=0))
    tokenizer.normalizer = spaces
    tokenizer.decoder = decoders.Sequence(decoder)
    return tokenizer


def check_spellings(tokens, kinds):
    kind_of = dict(zip(tokens, kinds))
    if len(kind_of) != len(tokens):
        twice = next(token for index, token in enumerate(tokens) if token in tokens[:index])
        raise Refused(f"tokenizer.ggml.tokens: {twice!r} is there twice")
    for spelling in BYTES:
        if kind_of.get(spelling) != TokenType.BYTE:
            raise Refused(f"tokenizer.ggml.tokens: {spelling} is missing: expected a token for each byte")
    for token, kind in kind_of.items():
        # It would have to be found among spaces that are added and respelled.
        if kind == TokenType.USER_DEFINED and (SPACE in token or " " in token):
            raise Refused(f"tokenizer.ggml.token_type: {token!r}, user-defined with a space, is not supported")


def merges(tokens, scores, kinds):
    """Pairs of pieces that spell a piece: those of the best piece first."""
    plain = {token for token, kind in zip(tokens, kinds) if kind == TokenType.NORMAL}
    # These are cut out of a text before anything is joined.
    whole = {token for token, kind in zip(tokens, kinds) if kind == TokenType.USER_DEFINED}

    def symbol(part):
        return part in plain or (len(part) == 1 and part not in whole)

    ranked, spelled_by = [], {}
    for token, score, kind in zip(tokens, scores, kinds):
        if kind not in (TokenType.NORMAL, TokenType.UNUSED):
            continue
        pairs = [(token[:cut], token[cut:]) for cut in range(1, len(token))]
        pairs = [pair for pair in pairs if symbol(pair[0]) and symbol(pair[1])]
        if kind == TokenType.UNUSED:
            # SentencePiece makes these and takes them apart again.
            if pairs or len(token) == 1:
                raise Refused(f"tokenizer.ggml.token_type: {token!r}, unused but spelled by texts, is not supported")
            continue
        for part in (part for pair in pairs for part in pair if part not in plain):
            raise Refused(f"tokenizer.ggml.tokens: {token!r} is joined from {part!r}, which is no piece")
        # Among equals the library goes by rank, SentencePiece by place. Both come to the same where a character is
        # repeated, as spaces are, whose pieces have one score in these families: what has been joined stands left, so
        # that the pair with the longest left part is the leftmost.
        other = spelled_by.setdefault(score, token) if pairs else token
        if other != token and len(set(other + token)) > 1:
            raise Refused(f"tokenizer.ggml.scores: {other!r} and {token!r} have the same")
        ranked += [(-score, -len(left), left, right) for left, right in pairs]
    return [(left, right) for _, _, left, right in sorted(ranked)]
