"""What the scripts for tiny decoders share: sizes, a tokenizer of bytes, prompts and what transformers writes after them."""

import itertools
import json

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

SPECIAL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
BYTES = 256
START, _, END = range(BYTES, BYTES + len(SPECIAL_TOKENS))
VOCABULARY = BYTES + len(SPECIAL_TOKENS)
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + eos_token + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
PROMPT_LENGTHS = [1, 2, 5, 5, 9, 17, 17, 40]
NEW_TOKENS = 16

# Wide weights: narrow ones make a model that writes one token over and over.
SIZES = dict(
    vocab_size=VOCABULARY,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=256,
    initializer_range=0.4,
    tie_word_embeddings=False,
    bos_token_id=START,
    eos_token_id=END,
)


def tokenizer():
    """Bytes and special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE(vocab={spelling: n for n, spelling in enumerate(alphabet)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(SPECIAL_TOKENS)
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token=SPECIAL_TOKENS[0], eos_token=SPECIAL_TOKENS[2], pad_token=SPECIAL_TOKENS[0]
    )
    made.chat_template = TEMPLATE
    return made


def cases(write, least_margin, plain=range(BYTES)):
    """Random prompts of plain tokens and what `write` makes of them; it gives tokens and the least lead of a best token."""
    generator = torch.Generator().manual_seed(1)
    for length in PROMPT_LENGTHS:
        while True:
            prompt = torch.randint(plain.start, plain.stop, (length,), generator=generator).tolist()
            tokens, margin = write(prompt)
            whole = len(tokens) == NEW_TOKENS and all(token in plain for token in tokens)
            if whole and margin > least_margin and len(set(tokens)) > NEW_TOKENS // 4:
                yield {"prompt": prompt, "tokens": tokens}
                break


def conversation(write, least_margin, spelled, end=END):
    """A message whose answer the model ends itself, by its end token, and that answer."""
    for n in itertools.count():
        content = f"Tell me about {n}."
        message = {"role": "user", "content": content}
        prompt = spelled.apply_chat_template([message], add_generation_prompt=True)
        tokens, margin = write(prompt)
        if tokens[-1] == end and len(tokens) > 3 and margin > least_margin:
            # What the answer adds: some tokenizers drop the space that the first token of a text begins with.
            before, after = (spelled.decode(ids, skip_special_tokens=True) for ids in (prompt, prompt + tokens))
            text = after.removeprefix(before)
            return {"content": content, "tokens": len(tokens), "text": text}


def both(write, least_margin, spelled=None):
    spelled = spelled or tokenizer()
    return {"cases": list(cases(write, least_margin)), "conversation": conversation(write, least_margin, spelled)}


def by_transformers(model):
    def write(prompt):
        out = model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.int64),
            do_sample=False,
            max_new_tokens=NEW_TOKENS,
            pad_token_id=START,
            output_logits=True,
            return_dict_in_generate=True,
        )
        best = torch.cat(out.logits).topk(2).values
        return out.sequences[0, len(prompt) :].tolist(), (best[:, 0] - best[:, 1]).min().item()

    return write


def record(target, golden):
    """Puts these models' parts into greedy.json, which other scripts write parts of too."""
    path = target / "greedy.json"
    known = json.loads(path.read_text("utf-8")) if path.exists() else {}
    with open(path, "w", encoding="utf-8") as file:
        json.dump(dict(sorted((known | golden).items())), file)
        file.write("\n")
