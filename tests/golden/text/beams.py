"""Writes hub/beams.json: what transformers' beam search finds with the tiny llama of hub.py.

For prompts taken by chance, numbers of beams and length penalties: the answer, which may end with the model's end token,
and its score. Answers are passed over where another one that has ended scores so nearly as well that the order of a sum
could decide.

Usage: python beams.py FOLDER, with what hub.py needs.
"""

import json
import sys
import tempfile
from pathlib import Path

import torch

import hub
from tiny import BYTES, END, START

SEARCHES = [(2, 1.0), (3, 0.0), (4, 1.0), (4, 2.0), (4, -1.0), (5, 0.5)]
NEW_TOKENS = 24
EACH = 6
LEAST_MARGIN = 1e-3


def main():
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as work:
        model = hub.make("llama", Path(work) / "llama")
    generator = torch.Generator().manual_seed(2)
    cases = []
    for beams, length_penalty in SEARCHES:
        found = 0
        while found < EACH:
            length = int(torch.randint(1, 30, (1,), generator=generator))
            prompt = torch.randint(BYTES, (length,), generator=generator).tolist()
            # Half of the answers are to end by themselves.
            ends = found % 2 == 0
            out = model.generate(
                torch.tensor([prompt]),
                attention_mask=torch.ones(1, length, dtype=torch.int64),
                do_sample=False,
                num_beams=beams,
                num_return_sequences=2,
                length_penalty=length_penalty,
                early_stopping=False,
                max_new_tokens=NEW_TOKENS,
                pad_token_id=START,
                output_scores=True,
                return_dict_in_generate=True,
            )
            best, second = out.sequences_scores.tolist()
            tokens = out.sequences[0, length:].tolist()
            if END in tokens:
                tokens = tokens[: tokens.index(END) + 1]
            if best - second > LEAST_MARGIN and (tokens[-1] == END) == ends and len(tokens) > 2:
                found += 1
                case = {"prompt": prompt, "beams": beams, "length_penalty": length_penalty}
                cases.append(case | {"max_tokens": NEW_TOKENS, "tokens": tokens, "score": best})
    with open(Path(sys.argv[1]) / "beams.json", "w", encoding="utf-8") as file:
        json.dump(cases, file)
        file.write("\n")


if __name__ == "__main__":
    main()
