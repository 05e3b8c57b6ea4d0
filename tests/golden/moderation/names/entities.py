"""Names and addresses in a text by a token classifier, worked out step by step and without batching: what the service must find.

Imported by golden.py and measure.py; needs onnxruntime, tokenizers and numpy.
"""

import json
import os

import numpy
import onnxruntime
import tokenizers

NAME, ADDRESS = "personal-data/name", "personal-data/address"
CATEGORIES = {
    "GIVEN_NAME": NAME,
    "SURNAME": NAME,
    "BUILDING_NUMBER": ADDRESS,
    "STREET_NAME": ADDRESS,
    "SECONDARY_ADDRESS": ADDRESS,
    "CITY": ADDRESS,
    "STATE": ADDRESS,
    "ZIP_CODE": ADDRESS,
}
# Make no find by themselves.
SUPPORTING = {"BUILDING_NUMBER", "SECONDARY_ADDRESS", "CITY", "STATE", "ZIP_CODE"}
# What may stand between two words of a find.
JOINTS = set(",.-'’/#") | {" ", "\t", "\n", "\r", "\u00a0"}
JOINT_CHARACTERS = 3


class Model:
    def __init__(self, folder):
        self.tokenizer = tokenizers.Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self.session = onnxruntime.InferenceSession(os.path.join(folder, "model.onnx"))
        with open(os.path.join(folder, "config.json")) as file:
            labels = json.load(file)["id2label"]
        self.labels = [labels[str(index)] for index in range(len(labels))]
        self.unknown = self.tokenizer.token_to_id("[UNK]")

    def words(self, text):
        """For each word: first character and the one behind its last, kind, whether it begins something, probability of its
        category."""
        encoding = self.tokenizer.encode(text)
        ids = numpy.array([encoding.ids], dtype=numpy.int64)
        inputs = {"input_ids": ids, "attention_mask": numpy.ones_like(ids), "token_type_ids": numpy.zeros_like(ids)}
        logits = self.session.run(None, inputs)[0][0].astype(numpy.float64)
        powers = numpy.exp(logits - logits.max(axis=-1, keepdims=True))
        shares = powers / powers.sum(axis=-1, keepdims=True)
        words = []
        for token, (start, end), row in zip(encoding.ids, encoding.offsets, shares):
            if start == end:
                continue
            if words and words[-1][1] == start and text[start - 1].isalnum() and text[start].isalnum() and text[start] < "\u2e80":
                words[-1][1] = end
                continue
            label = self.labels[row.argmax()]
            prefix, _, kind = label.partition("-")
            category = CATEGORIES.get(kind)
            if category is None or token == self.unknown:
                words.append([start, end, None, True, None, 0.0])
                continue
            of_category = [CATEGORIES.get(name.partition("-")[2]) == category for name in self.labels]
            words.append([start, end, kind, prefix == "B", category, float(row[of_category].sum())])
        return words

    def entities(self, text):
        """The finds: category, first byte, the one behind the last, mean probability of their words."""
        found = []
        for start, end, kind, begins, category, share in self.words(text):
            if kind is None:
                continue
            last = found[-1] if found else None
            if last and last["category"] == category:
                gap = text[last["end"] : start]
                joined = len(gap) <= JOINT_CHARACTERS and set(gap) <= JOINTS and gap.count("\n") < 2
                again = kind in last["kinds"] and (kind != last["kinds"][-1] or bool(gap.strip()) or "\n" in gap)
                if joined and not (begins and again):
                    last["end"] = end
                    last["kinds"].append(kind)
                    last["shares"].append(share)
                    continue
            found.append({"category": category, "start": start, "end": end, "kinds": [kind], "shares": [share]})
        whole = [one for one in found if not set(one["kinds"]) <= SUPPORTING]
        at = lambda place: len(text[:place].encode())
        return [
            {
                "category": one["category"],
                "start": at(one["start"]),
                "end": at(one["end"]),
                "score": sum(one["shares"]) / len(one["shares"]),
            }
            for one in whole
        ]
