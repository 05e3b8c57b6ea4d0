"""Makes rows out of patterns that come in contrasts: the same words once harmful and once harmless.

Public data sets say little about negated hate, figures of speech, people who speak of themselves, or instructions that are
merely everyday requests; a classifier that learnt from them alone goes by single words. `sentences/contrasts.toml` holds
functions (what a text does), each with its labels and its patterns. A pattern has slots, `{group}`, and choices, `[this|that]`.

Whole patterns are held out for testing, so that a test row never is a training row with another word in its slot.
"""

import random
import re
import tomllib
from collections import Counter
from dataclasses import dataclass

from corpora import ATTACKS, CATEGORIES, HERE, Row, normalised, random_for

# Nothing sexual about minors is ever written here, harmless contrasts alone.
NEVER_WRITTEN = "sexual/minors"
LANGUAGES = ("en", "zh", "other")
# Each pattern gives at most so many rows, so that none of them becomes a cue by its frequency.
ROWS_OF_A_PATTERN = 6
HELD_OUT = 6
# One in so many rows of the result is a text of several sentences.
JOINED = 9

CHOICE = re.compile(r"\[([^\[\]]*\|[^\[\]]*)\]")
SLOT = re.compile(r"\{([a-z]+)(\d?)(\.one)?\}")


@dataclass(frozen=True)
class Pattern:
    """One pattern with what its function says about it."""

    text: str
    language: str
    function: str
    labels: dict[str, int]
    half: str


@dataclass(frozen=True)
class Made:
    """A row that remembers where it came from."""

    row: Row
    pattern: Pattern


def rows(half: str) -> list[Row]:
    """The rows of a half, train or test; the same ones in every run."""
    return [made.row for made in everything(half)]


def everything(half: str) -> list[Made]:
    book = read()
    single = [Made(row, pattern) for pattern in patterns(book) if pattern.half == half for row in rows_of(pattern, book["slots"])]
    return distinct(single + joined(single, half))


def read() -> dict:
    return tomllib.loads((HERE / "sentences" / "contrasts.toml").read_text(encoding="utf-8"))


def patterns(book: dict) -> list[Pattern]:
    """All patterns; of each function and language, every sixth is for testing."""
    found = []
    for function in book["function"]:
        labels = labels_of(function)
        for language in LANGUAGES:
            for at, text in enumerate(function.get(language, [])):
                half = "test" if at % HELD_OUT == HELD_OUT - 1 else "train"
                found.append(Pattern(text.strip(), language, function["name"], labels, half))
    return found


def labels_of(function: dict) -> dict[str, int]:
    """`is` names the categories of a function, `not` those that it surely lacks, `open` attacks that some of its texts may be.

    Without `is` a function is harmless in every category. Attacks do not come by accident, so they count as absent unless named.
    """
    positive, absent, unknown = (function.get(key, []) for key in ("is", "not", "open"))
    strange = {*positive, *absent, *unknown} - set(CATEGORIES)
    if strange or NEVER_WRITTEN in positive:
        raise ValueError(f"{function['name']}: wrong categories {sorted(strange) or NEVER_WRITTEN}")
    if not positive:
        return dict.fromkeys(CATEGORIES, 0)
    zeros = {category: 0 for category in (*ATTACKS, *absent) if category not in unknown}
    return zeros | dict.fromkeys(positive, 1)


def rows_of(pattern: Pattern, slots: dict) -> list[Row]:
    """Different fillings of a pattern, fewer where it has no more."""
    dice = random_for(f"contrasts/{pattern.function}/{pattern.text}")
    texts: dict[str, str] = {}
    for _ in range(4 * ROWS_OF_A_PATTERN):
        text = filled(pattern.text, slots.get(pattern.language, {}), dice)
        texts.setdefault(normalised(text), dressed(text, pattern.language, dice))
    return [Row(text, f"contrasts/{pattern.half}", pattern.labels) for text in list(texts.values())[:ROWS_OF_A_PATTERN]]


def filled(text: str, slots: dict[str, list[str]], dice: random.Random) -> str:
    """Chooses and fills. A slot keeps its value within a text; a digit asks for another draw, `.one` for the second form
    (of a group: what follows "I am")."""
    drawn: dict[str, dict[str, str]] = {}

    def value(slot: re.Match) -> str:
        name, digit, second = slot.groups()
        chosen = drawn.setdefault(name, {})
        if digit not in chosen:
            chosen[digit] = dice.choice([entry for entry in slots[name] if entry not in chosen.values()])
        forms = chosen[digit].split("|")
        return forms[-1] if second else forms[0]

    text = SLOT.sub(value, CHOICE.sub(lambda choice: dice.choice(choice[1].split("|")), text))
    text = re.sub(r"\b([Aa]) (?=[aeioAEIO])", r"\1n ", text)
    return re.sub(r"(^|[.!?] )([a-z])", lambda start: start[1] + start[2].upper(), text)


def dressed(text: str, language: str, dice: random.Random) -> str:
    """The text as various people would type it. Documents keep their form."""
    if "\n" in text:
        return text
    bare = text.rstrip(".。!！")
    stop = "！" if language == "zh" else "!"
    way = dice.random()
    if way < 0.12:
        return bare
    if way < 0.18 and bare != text:
        return bare + stop * dice.choice((1, 1, 3))
    if way < 0.30:
        return text.lower()
    if way < 0.36:
        return bare.lower()
    if way < 0.38 and len(text) < 80:
        return text.upper()
    return text


def joined(single: list[Made], half: str) -> list[Made]:
    """Texts of two to four harmless sentences, two in five with one harmful text among them.

    A judgement must not depend on a text being short, nor on everything in it being harmful. Sexual texts stay out: the
    sentences beside them may speak of children.
    """
    dice = random_for(f"contrasts/joined/{half}")
    result = []
    for language, mark in (("en", " "), ("zh", "")):
        short = [made for made in single if made.pattern.language == language and len(made.row.text) < 220 and "\n" not in made.row.text]
        calm: dict[str, list[Made]] = {}
        for made in short:
            if not any(made.row.labels.values()):
                calm.setdefault(made.pattern.text, []).append(made)
        harmful = [made for made in short if any(made.row.labels.values()) and not made.row.labels.get("sexual")]
        count = sum(made.pattern.language == language for made in single) // (JOINED - 1)
        for at in range(count):
            parts = [dice.choice(alike) for alike in dice.sample(list(calm.values()), dice.randint(2, 4))]
            labels = dict.fromkeys(CATEGORIES, 0)
            if at % 5 in (1, 3):
                bad = dice.choice(harmful)
                labels = bad.row.labels
                parts.insert(dice.randint(0, len(parts)), bad)
            text = mark.join(ended(part.row.text, language) for part in parts)
            pattern = Pattern(text, language, "joined/harmful" if any(labels.values()) else "joined/harmless", labels, half)
            result.append(Made(Row(text, f"contrasts/{half}", labels), pattern))
    return result


def ended(text: str, language: str) -> str:
    if text[-1] in ".?!。？！…”\"":
        return text
    return text + ("。" if language == "zh" else ".")


def distinct(found: list[Made]) -> list[Made]:
    """The first of the rows that say the same."""
    first: dict[str, Made] = {}
    for made in found:
        first.setdefault(normalised(made.row.text), made)
    return list(first.values())


def main() -> None:
    halves = {half: everything(half) for half in ("train", "test")}
    for name in dict.fromkeys(made.pattern.function for half in halves.values() for made in half):
        print(f"\n{name}")
        for half, found in halves.items():
            own = [made for made in found if made.pattern.function == name]
            languages = Counter(made.pattern.language for made in own)
            print(f"  {half}: {len(own)} rows of {len({made.pattern.text for made in own})} patterns, {dict(languages)}")
            for made in random_for(f"shown/{name}").sample(own, min(3, len(own))):
                print(f"    {made.row.text!r}")
    print()
    for half, found in halves.items():
        print(f"{half}: {len(found)} rows, {dict(Counter(made.pattern.language for made in found))}")
        print(f"  harmless {sum(not any(made.row.labels.values()) for made in found)}")
        for category in CATEGORIES:
            known = Counter(made.row.labels[category] for made in found if category in made.row.labels)
            print(f"  {category}: {known[1]} have it, {known[0]} do not")


if __name__ == "__main__":
    main()
