"""Writes sampling.json: distributions after the logits processors and warpers of Hugging Face transformers.

The definitions are those of transformers' generation/logits_process.py (SequenceBias, RepetitionPenalty, Temperature,
TopK, TopP, MinP, NoRepeatNGram, MinNewTokensLength and Typical too, in the order of GenerationMixin._get_logits_processor), written
out in numpy so that the script needs no torch. Presence and frequency penalties are OpenAI's, applied after the repetition penalty.
DRY, XTC and mirostat 2.0, which transformers lacks, are written from their definitions: what llama.cpp's llama-sampling.cpp computes,
by brute force, and algorithm 2 of https://arxiv.org/abs/2007.14966.

Usage: python sampling.py > sampling.json
"""

import json

import numpy as np


def softmax(scores):
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()


def process(case):
    scores = np.array(case["logits"], dtype=np.float64)
    for token, bias in case["logit_bias"]:
        scores[token] += bias
    seen = np.unique(np.array(case["prompt"] + case["written"], dtype=np.int64))
    picked = scores[seen]
    penalty = case["repetition_penalty"]
    scores[seen] = np.where(picked < 0, picked * penalty, picked / penalty)
    for token in set(case["written"]):
        scores[token] -= case["presence_penalty"] + case["frequency_penalty"] * case["written"].count(token)
    size, tokens = case["no_repeat_ngram_size"], case["prompt"] + case["written"]
    if size > 0 and len(tokens) + 1 >= size:
        begun = tokens[len(tokens) - size + 1 :]
        for start in range(len(tokens) - size + 1):
            if tokens[start : start + size - 1] == begun:
                scores[tokens[start + size - 1]] = -np.inf
    if len(case["written"]) < case["min_tokens"]:
        scores[case["end_tokens"]] = -np.inf
    # Warpers.
    scores = scores / case["temperature"]
    if case["top_k"] > 0:
        k = min(case["top_k"], len(scores))
        scores[scores < np.sort(scores)[-k]] = -np.inf
    if case["top_p"] < 1:
        ascending = np.argsort(scores, kind="stable")
        cumulative = softmax(scores[ascending]).cumsum()
        remove = cumulative <= 1 - case["top_p"]
        remove[-1] = False
        scores[ascending[remove]] = -np.inf
    if case["min_p"] > 0:
        probabilities = softmax(scores)
        scores[probabilities < case["min_p"] * probabilities.max()] = -np.inf
    if case["typical_p"] < 1:
        # TypicalLogitsWarper.
        with np.errstate(divide="ignore", invalid="ignore"):
            logarithms = np.log(softmax(scores))
            entropy = -np.nansum(np.exp(logarithms) * logarithms)
        distance = np.abs(-logarithms - entropy)
        order = np.argsort(distance, kind="stable")
        last = min(int((softmax(scores)[order].cumsum() < case["typical_p"]).sum()), len(order) - 1)
        scores[distance > distance[order][last]] = -np.inf
    probabilities = softmax(scores)
    return [[int(token), round(float(probabilities[token]), 9)] for token in np.flatnonzero(scores > -np.inf)]


def dry(case):
    """Logits after DRY: by the longest repeat that each token would go on with."""
    logits, tokens = np.array(case["logits"], dtype=np.float64), case["tokens"]
    breakers, longest = set(case["breakers"]), {}
    for end in range(len(tokens)):
        length = 0
        while length < end and tokens[end - 1 - length] == tokens[-1 - length] and tokens[-1 - length] not in breakers:
            length += 1
        if length >= case["allowed_length"] and tokens[end] not in breakers:
            longest[tokens[end]] = max(length, longest.get(tokens[end], 0))
    for token, length in longest.items():
        logits[token] -= case["multiplier"] * case["base"] ** (length - case["allowed_length"])
    return [round(float(logit), 6) for logit in logits]


def kept(scores):
    probabilities = softmax(scores)
    return [[int(token), round(float(probabilities[token]), 9)] for token in np.flatnonzero(scores > -np.inf)]


def xtc(case):
    """The distribution where the coin says that top choices go."""
    scores = np.array(case["logits"], dtype=np.float64) / case["temperature"]
    if case["top_k"] > 0:
        scores[scores < np.sort(scores)[-case["top_k"]]] = -np.inf
    if case["min_p"] > 0:
        scores[softmax(scores) < case["min_p"] * softmax(scores).max()] = -np.inf
    before = kept(scores)
    descending = np.argsort(-scores, kind="stable")
    probabilities = softmax(scores)[descending]
    top = int((probabilities >= case["threshold"]).sum())
    scores[descending[: max(top - 1, 0)]] = -np.inf
    return before, kept(scores)


def mirostat(case, draw):
    """For each step: its logits, what is kept, the token that `draw` picks of it, and mu after that."""
    mu, steps = 2 * case["tau"], []
    for logits in case.pop("logits"):
        scores = np.array(logits, dtype=np.float64) / case["temperature"]
        surprise = -np.log2(softmax(scores))
        scores[(surprise > mu) & (np.arange(len(scores)) != scores.argmax())] = -np.inf
        probabilities = softmax(scores)
        token = int(draw(probabilities))
        mu -= case["eta"] * (-np.log2(probabilities[token]) - case["tau"])
        steps.append({"logits": logits, "kept": kept(scores), "token": token, "mu": round(float(mu), 9)})
    return steps


def samplers():
    """Cases of DRY, XTC and mirostat."""
    rng = np.random.default_rng(20240811)
    pick = lambda *values: values[int(rng.integers(len(values)))]
    normal = lambda size, spread: [round(float(x), 4) for x in rng.normal(0, spread, size)]
    cases = {"dry": [], "xtc": [], "mirostat": []}
    for number in range(24):
        size = int(rng.integers(3, 9))
        case = {
            "logits": normal(size, 4),
            "tokens": [int(x) for x in rng.integers(0, size - 1, int(rng.integers(0, 60)))] + [0, 1, 1] * (number % 4),
            "multiplier": pick(0.5, 0.8, 2.0),
            "base": pick(1.0, 1.25, 1.75),
            "allowed_length": pick(1, 2, 3),
            "breakers": [size - 1] if number % 2 else [2, size - 1],
        }
        cases["dry"].append(case | {"penalised": dry(case)})
    for _ in range(24):
        case = {
            "logits": normal(int(rng.integers(16, 64)), pick(1, 3)),
            "temperature": pick(0.7, 1.0, 1.5),
            "top_k": pick(0, 0, 12),
            "min_p": pick(0.0, 0.0, 0.05),
            "threshold": pick(0.02, 0.05, 0.1, 0.3, 0.5),
        }
        before, after = xtc(case)
        cases["xtc"].append(case | {"heads": after, "tails": before})
    for _ in range(6):
        size = int(rng.integers(32, 128))
        case = {
            "logits": [normal(size, 3) for _ in range(12)],
            "temperature": pick(0.7, 1.0, 1.5),
            "tau": pick(0.5, 2.0, 3.0),
            "eta": pick(0.1, 0.5),
        }
        steps = mirostat(case, lambda probabilities: rng.choice(len(probabilities), p=probabilities))
        cases["mirostat"].append(case | {"steps": steps})
    return cases


def main():
    rng = np.random.default_rng(20240607)
    cases = []
    for number in range(48):
        size = int(rng.integers(16, 96))
        pick = lambda *values: values[int(rng.integers(len(values)))]
        case = {
            "logits": [round(float(x), 4) for x in rng.normal(0, 4, size)],
            "prompt": [int(x) for x in rng.integers(0, size, int(rng.integers(0, 12)))],
            "written": [int(x) for x in rng.integers(0, size, int(rng.integers(0, 12)))],
            "temperature": pick(0.25, 0.7, 1.0, 1.5, 2.0),
            "top_k": pick(0, 0, 1, 5, 12, 200),
            "top_p": pick(1.0, 1.0, 0.3, 0.8, 0.95),
            "min_p": pick(0.0, 0.0, 0.02, 0.2, 1.0),
            "typical_p": pick(1.0, 1.0, 0.2, 0.9),
            "no_repeat_ngram_size": pick(0, 0, 1, 2, 3),
            "min_tokens": pick(0, 0, 8),
            "end_tokens": [int(rng.integers(size)) for _ in range(2)],
            "repetition_penalty": pick(1.0, 1.1, 1.75),
            "presence_penalty": pick(0.0, 0.5, -1.5),
            "frequency_penalty": pick(0.0, 0.25, -0.75),
            "logit_bias": [[int(rng.integers(size)), pick(-100.0, -2.5, 3.0, 100.0)] for _ in range(number % 3)],
        }
        case["probabilities"] = process(case)
        cases.append(case)
    lists = {"filters": cases} | samplers()
    lines = [f'"{name}": [\n' + ",\n".join(json.dumps(case) for case in of) + "\n]" for name, of in lists.items()]
    print("{" + ",\n".join(lines) + "}")


if __name__ == "__main__":
    main()
