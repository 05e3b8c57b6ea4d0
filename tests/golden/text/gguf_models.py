"""Writes gguf/: tiny decoders with random weights as llama.cpp's converter leaves them, and tokenizers for such files; and
into hub/ the folders that our converter makes of them.

    gguf/llama.gguf         weights in 4 bits (Q4_1), rotary factors of Llama 3.1, own output matrix
    gguf/qwen2.gguf         weights in 8 bits (Q8_0), biases, own output matrix
    gguf/qwen3.gguf         weights in float16, norms on heads that are wider than a share of the hidden size, tied output
    gguf/tokenizers.json    a vocabulary, and for each family of tokenizers what the original makes of hard strings

greedy.json gets what transformers writes with the same weights, as for the other folders.

Usage: python gguf_models.py FOLDER, with torch, transformers<5, gguf, tiktoken, mistral-common and onnx from PyPI; FOLDER is
that of hub/ and gguf/.
"""

import json
import subprocess
import sys
import tempfile
from importlib import resources
from pathlib import Path

import gguf
import numpy as np
import tiktoken
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    GPT2Tokenizer,
    LlamaConfig,
    Qwen2Config,
    Qwen2Tokenizer,
    Qwen3Config,
)
from transformers.convert_slow_tokenizer import TikTokenConverter
from transformers.models.gpt2.tokenization_gpt2 import bytes_to_unicode

from tiny import END, SIZES, SPECIAL_TOKENS, START, TEMPLATE, VOCABULARY, both, by_transformers, record

CONVERTER = Path(__file__).resolve().parents[3] / "deploy/models/convert/gguf_to_onnx.py"

# Beside bytes and special tokens: what merges make, and a row of the embedding that stands for nothing.
MERGES = ["h e", "Ġ t", "o u"]
UNUSED = ["[PAD262]"]

WIDTHS = SIZES | dict(
    vocab_size=VOCABULARY + len(MERGES) + len(UNUSED),
    intermediate_size=64,
    num_attention_heads=2,
    num_key_value_heads=1,
    rms_norm_eps=1e-5,
)
WIDE_HEADS = dict(num_attention_heads=4, num_key_value_heads=2, head_dim=16, tie_word_embeddings=True)
STRETCHED = dict(
    rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64
)
CONFIGS = {
    "llama": LlamaConfig(rope_theta=10000.0, rope_scaling=STRETCHED, **WIDTHS),
    "qwen2": Qwen2Config(rope_theta=1e6, **WIDTHS),
    "qwen3": Qwen3Config(rope_theta=1e6, **(WIDTHS | WIDE_HEADS)),
}
TYPES = {
    "llama": gguf.GGMLQuantizationType.Q4_1,
    "qwen2": gguf.GGMLQuantizationType.Q8_0,
    "qwen3": gguf.GGMLQuantizationType.F16,
}
# Of models that end an answer themselves now and then.
SEEDS = {"llama": 20240607, "qwen2": 3, "qwen3": 6}
PRE_TOKENIZERS = {"llama": "llama-bpe", "qwen2": "qwen2", "qwen3": "qwen2"}

# The converted folders, in float32: of which file, and in which layout.
FOLDERS = {
    "gguf-llama": ("llama", "slots"),
    "gguf-qwen2": ("qwen2", "slots"),
    "gguf-qwen2-hub": ("qwen2", "hub"),
    "gguf-qwen3": ("qwen3", "slots"),
    "gguf-qwen3-hub": ("qwen3", "hub"),
}
LEAST_MARGIN = 0.01

HARD = [
    "",
    " ",
    "Hello, world!  How are   you?",
    "I'll say we've DON'T he'S it'd y'all'RE 'tis 'LL",
    "1 22 333 4444 55555 3.14159 1,000,000 0x1F 2024-11-27",
    "٣٤٥ ½ Ⅷ ² ①②",
    "你好，世界！今天是2024年11月27日。",
    "日本語とひらがなカタカナ 한국어 텍스트",
    "cafe\u0301 caf\u00e9 A\u030a \u1112\u1161\u11ab \ufb01",
    "line one\nline two\r\n\r\n  indented\t\ttabs \n \n",
    "   leading and trailing   ",
    "for (int i = 0; i < 10; ++i) { s += x[i]; } // sum\n",
    "camelCase HTTPServer snake_case UPPER lower123abc",
    "a\u00a0b\u2003c\u200bd\ufeffe",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea \u2764\ufe0f",
    "नमस्ते สวัสดี مرحبا שלום",
    "https://example.org/a?b=c&d=%20#e @user #tag",
    "<|im_start|>user\nthe harbour<|im_end|>\n<|endoftext|>",
    "\u0000\u0007\u001b[0m",
]


def random_model(config, seed):
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config).eval()
    # Norms and biases begin as ones and zeros, with which no mistake shows.
    for parameter in model.parameters():
        if parameter.ndim == 1:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    for key, parameter in model.named_parameters():
        if key.endswith(".bias"):
            torch.nn.init.normal_(parameter, std=0.4)
    return model


def interleaved(rows, heads):
    """As llama.cpp stores the rows of query and key of a llama: those of a rotary pair beside each other."""
    return rows.reshape(heads, 2, -1, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def write(name, model, path, write_tokenizer):
    """The GGUF file; the model's weights become what the file holds."""
    config, writer = model.config, gguf.GGUFWriter(path, name)
    writer.add_name(f"tiny {name}")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_theta)
    if name == "llama":
        writer.add_vocab_size(config.vocab_size)
        writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    if name == "qwen3":
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
    write_tokenizer(name, writer)
    names = gguf.get_tensor_name_map(getattr(gguf.MODEL_ARCH, name.upper()), config.num_hidden_layers)
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    for key, parameter in model.state_dict().items():
        if key == "lm_head.weight" and config.tie_word_embeddings:
            continue
        target = names.get_name(key, try_suffixes=(".weight", ".bias"))
        kind = TYPES[name] if parameter.ndim == 2 else gguf.GGMLQuantizationType.F32
        stored = gguf.quantize(parameter.numpy(), kind)
        with torch.no_grad():
            parameter.copy_(torch.tensor(gguf.dequantize(stored, kind).reshape(parameter.shape)))
        part = target.split(".")[-2]
        if name == "llama" and part in heads:
            stored = interleaved(stored, heads[part])
        writer.add_tensor(target, stored, raw_dtype=kind)
    if config.rope_scaling is not None:
        rotary = model.model.rotary_emb.inv_freq.numpy()
        plain = config.rope_theta ** -(np.arange(len(rotary)) / len(rotary))
        writer.add_tensor("rope_freqs.weight", (plain / rotary).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def byte_tokens():
    return sorted(pre_tokenizers.ByteLevel.alphabet())


def write_tokenizer(name, writer):
    plain, control, unused = gguf.TokenType.NORMAL, gguf.TokenType.CONTROL, gguf.TokenType.UNUSED
    merged = [merge.replace(" ", "") for merge in MERGES]
    tokens = [(token, plain) for token in byte_tokens()] + [(token, control) for token in SPECIAL_TOKENS]
    tokens += [(token, plain) for token in merged] + [(token, unused) for token in UNUSED]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(PRE_TOKENIZERS[name])
    writer.add_token_list([token for token, _ in tokens])
    writer.add_token_types([kind for _, kind in tokens])
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(START)
    writer.add_eos_token_id(END)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)


def slow(kind, folder, tokens, merges):
    """A tokenizer of transformers in plain Python, with this vocabulary."""
    (folder / "vocab.json").write_text(json.dumps({token: n for n, token in enumerate(tokens)}), "utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{merge}\n" for merge in merges), "utf-8")
    names = dict(unk_token=SPECIAL_TOKENS[0], eos_token=SPECIAL_TOKENS[2], pad_token=SPECIAL_TOKENS[0])
    made = kind(str(folder / "vocab.json"), str(folder / "merges.txt"), bos_token=None, **names)
    made.add_special_tokens({"additional_special_tokens": SPECIAL_TOKENS[1:2]})
    made.chat_template = TEMPLATE
    return made


def by_pattern(pattern, tokens):
    """OpenAI's tokenizer with this pattern; a token's rank is its id."""
    as_byte = {spelling: byte for byte, spelling in bytes_to_unicode().items()}
    ranks = {bytes(as_byte[c] for c in token): n for n, token in enumerate(tokens) if token not in SPECIAL_TOKENS}
    special = {token: tokens.index(token) for token in SPECIAL_TOKENS}
    made = tiktoken.Encoding("tiny", pat_str=pattern, mergeable_ranks=ranks, special_tokens=special)
    return lambda text: made.encode(text, allowed_special="all")


def tekken_pattern():
    data = resources.files("mistral_common") / "data/tekken_240911.json"
    return json.loads(data.read_text("utf-8"))["config"]["pattern"]


def tokenizers(folder):
    """A vocabulary trained on the hard strings, and what each family makes of them."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain = [text for text in HARD if "<|" not in text]
    trainer = trainers.BpeTrainer(vocab_size=420, initial_alphabet=byte_tokens(), show_progress=False)
    trained.train_from_iterator(plain * 3, trainer)
    described = json.loads(trained.to_str())["model"]
    tokens = sorted(described["vocab"], key=described["vocab"].get) + SPECIAL_TOKENS
    merges = [" ".join(pair) for pair in described["merges"]]
    families = {
        "gpt-2": slow(GPT2Tokenizer, folder, tokens, merges).encode,
        "qwen2": slow(Qwen2Tokenizer, folder, tokens, merges).encode,
        "llama-bpe": by_pattern(TikTokenConverter().pattern, tokens),
        "tekken": by_pattern(tekken_pattern(), tokens),
    }
    return {
        "tokens": tokens,
        "merges": merges,
        "texts": HARD,
        "families": {name: [encode(text) for text in HARD] for name, encode in families.items()},
    }


def main():
    torch.set_num_threads(1)
    target = Path(sys.argv[1])
    sources, hub = target / "gguf", target / "hub"
    sources.mkdir(exist_ok=True)
    written = {}
    for name in CONFIGS:
        written[name] = random_model(CONFIGS[name], SEEDS[name])
        write(name, written[name], sources / f"{name}.gguf", write_tokenizer)
    merged = [merge.replace(" ", "") for merge in MERGES]
    with tempfile.TemporaryDirectory() as work:
        spelled = slow(Qwen2Tokenizer, Path(work), byte_tokens() + SPECIAL_TOKENS + merged, MERGES)
        known = tokenizers(Path(work))
    golden = {}
    answers = {name: both(by_transformers(model), LEAST_MARGIN, spelled) for name, model in written.items()}
    for folder, (name, layout) in FOLDERS.items():
        golden[folder] = answers[name]
        options = ["--mode", "f32", "--layout", layout]
        subprocess.run([sys.executable, CONVERTER, sources / f"{name}.gguf", hub / folder, *options], check=True)
    record(hub, golden)
    with open(sources / "tokenizers.json", "w", encoding="utf-8") as file:
        json.dump(known, file)
        file.write("\n")


if __name__ == "__main__":
    main()
