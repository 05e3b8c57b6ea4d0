"""Rebuilds the hub's tokenizer.json from a GGUF file's metadata."""

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

# Token kinds as GGUF numbers them.
CONTROL, USER_DEFINED = 3, 4


def _smollm():
    """Digits one by one, then GPT-2's pattern over bytes."""
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )


# How text is cut before byte-pair merges, by the name GGUF gives it. A model of another family adds its line here.
PRE_TOKENIZERS = {"smollm": _smollm}


def build(metadata):
    """The tokenizer that `metadata` (a function from key to value, or None) describes."""
    family, cut = metadata("tokenizer.ggml.model"), metadata("tokenizer.ggml.pre")
    if family != "gpt2" or cut not in PRE_TOKENIZERS:
        raise ValueError(f"tokenizer {family!r} with pre-tokenizer {cut!r} is not supported")
    tokens = metadata("tokenizer.ggml.tokens")
    kinds = metadata("tokenizer.ggml.token_type")
    merges = [tuple(merge.split(" ")) for merge in metadata("tokenizer.ggml.merges")]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, fuse_unk=False, byte_fallback=False))
    tokenizer.pre_tokenizer = PRE_TOKENIZERS[cut]()
    tokenizer.decoder = decoders.ByteLevel()

    def of_kind(wanted):
        return [
            AddedToken(token, special=wanted == CONTROL, normalized=False)
            for token, kind in zip(tokens, kinds)
            if kind == wanted
        ]

    tokenizer.add_special_tokens(of_kind(CONTROL))
    tokenizer.add_tokens(of_kind(USER_DEFINED))
    return tokenizer
