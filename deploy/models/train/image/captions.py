"""What pictures are called: captions in English and Chinese, how often each is used, and how often each picture is.

A word is a caption of the pictures it names most specifically: "fire" is the flame, and the tag of a firefighter says
nothing. `words.tsv` adds the everyday word where the official label has another ("automobile").
"""

import re
from collections import defaultdict
from pathlib import Path

from packages import Concept
from render import COLOURS

WORDS = Path(__file__).resolve().parent / "words.tsv"
FLAG = re.compile(r"^flag: (.+)$")
CHINESE_FLAG = re.compile(r"^(?:旗|旗子)[:：]\s*(.+)$")
COLOUR_WORD = re.compile(r"\b(light blue|red|orange|yellow|green|blue|purple|pink|brown|black|white|gr[ea]y)\b ?")
CHINESE_COLOUR = re.compile("[红紅橙黄黃绿綠蓝藍紫粉棕黑白灰]色?")
ARTICLES = re.compile(r"^(?:a|an|the) ")

# Colour and thing that never meet in training, for the test of composition.
HELD_OUT = {
    ("apple", "blue"),
    ("automobile", "purple"),
    ("car", "purple"),
    ("house", "yellow"),
    ("fish", "orange"),
    ("star", "pink"),
    ("mushroom", "blue"),
    ("cat", "purple"),
    ("dog", "blue"),
    ("rocket", "green"),
    ("rose", "blue"),
    ("umbrella", "green"),
}

# How often a concept is shown. People and signs are many and alike; what prompts ask for is rarer.
GROUP_WEIGHTS = {
    "smileys-emotion": 1.2,
    "people-body": 0.25,
    "animals-nature": 2.0,
    "food-drink": 2.0,
    "travel-places": 1.4,
    "activities": 1.5,
    "objects": 1.3,
    "symbols": 0.2,
    "flags": 0.3,
}
SUBGROUP_WEIGHTS = {"time": 0.2, "person": 1.2, "body-parts": 0.8, "heart": 1.5, "country-flag": 0.25, "geometric": 0.5}
# Named in words.tsv: asked for most.
EVERYDAY_BOOST = 2.5

# People and faces are recoloured too, but seldom shown so.
RECOLOURED_PEOPLE = 0.15
# The first style's pictures carry the long captions.
LONG_CAPTIONS = "noto"

# How specifically a word names a concept.
EVERYDAY, WHOLE, LAST, PART, TAG = 20.0, 10.0, 3.0, 1.0, 0.5
# A word belongs to those that it names at least this well, next to the best.
RIVAL = 0.5
# A word of more concepts than this names none.
MOST_OWNERS = 6
# Words known this little are left out.
LEAST_SCORE = 0.1


def everyday_words() -> dict[str, tuple[list[str], list[str]]]:
    """English and Chinese words by code."""
    words = {}
    for line in WORDS.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            code, english, chinese = line.split("\t")
            words[code] = (english.split(", "), chinese.split(", ") if chinese else [])
    return words


def is_drawn(concept: Concept) -> bool:
    """Variants by gender and families are left out: dozens of nearly the same picture."""
    if concept.subgroup in ("family", "skin-tone", "hair-style", "keycap", "alphanum"):
        return False
    variant = concept.gendered and re.match(r"(?:man|woman|men|women)\b.", concept.label)
    facing = "facing right" in concept.label
    return not variant and not facing


def article(words: str) -> str:
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"


def tidy(label: str) -> str:
    flag = FLAG.match(label)
    return f"flag of {flag[1]}" if flag else label


def tidy_chinese(label: str) -> str:
    flag = CHINESE_FLAG.match(label)
    return f"{flag[1]}国旗" if flag else label


class Captions:
    """The captions of concepts, each with a weight."""

    def __init__(self, concepts: list[Concept]):
        self.everyday = everyday_words()
        scores: dict[str, dict[str, float]] = defaultdict(dict)
        for concept in concepts:
            for word, score in self._scores(concept).items():
                scores[word][concept.code] = max(score, scores[word].get(concept.code, 0))
        self.owned: dict[str, list[tuple[str, float]]] = defaultdict(list)
        for word, by_code in scores.items():
            best = max(by_code.values())
            owners = [code for code, score in by_code.items() if score >= RIVAL * best]
            if len(owners) <= MOST_OWNERS:
                for code in owners:
                    self.owned[code].append((word, best / len(owners)))

    def _scores(self, concept: Concept) -> dict[str, float]:
        found: dict[str, float] = {}

        def note(word: str, score: float) -> None:
            found[word] = max(score, found.get(word, 0))

        english, chinese = self.everyday.get(concept.code, ((), ()))
        for word in (*english, *chinese):
            note(word, EVERYDAY)
        if concept.group in ("flags", "symbols", "people-body") and concept.subgroup != "person":
            return found
        label = ARTICLES.sub("", concept.label.lower())
        parts = re.findall(r"[a-z][a-z-]+", label)
        if ":" not in label and parts:
            for part in parts:
                note(part, PART)
            note(parts[-1], LAST)
            note(label, WHOLE)
        for tag in concept.tags:
            note(tag.lower(), TAG)
        for name in concept.chinese:
            note(name, WHOLE)
        for tag in concept.chinese_tags:
            note(tag, TAG)
        return found

    def weight(self, concept: Concept, recoloured: bool) -> float:
        """How often the concept is shown."""
        if recoloured and concept.group in ("people-body", "smileys-emotion") and concept.subgroup != "heart":
            return RECOLOURED_PEOPLE
        weight = SUBGROUP_WEIGHTS.get(concept.subgroup, GROUP_WEIGHTS[concept.group])
        return max(weight, 1.0) * EVERYDAY_BOOST if concept.code in self.everyday else weight

    def of(self, concept: Concept, style: str, colour: str | None) -> dict[str, float]:
        """Captions of a picture that hasn't been recoloured; `colour` is what it is without doubt."""
        label = tidy(concept.label)
        found: dict[str, float] = defaultdict(float)
        found[label] += 0.16
        found[article(label)] += 0.05
        common = self.everyday.get(concept.code, ((label,), ()))[0][0]
        found[f"picture of {article(common)}"] += 0.04
        if style == LONG_CAPTIONS:
            found[", ".join((label, *concept.tags[:3]))] += 0.06
        elif concept.code in self.everyday:
            found[f"{style} emoji of {article(common)}"] += 0.06
        for name in concept.chinese:
            found[tidy_chinese(name)] += 0.14 / len(concept.chinese)
        flag = FLAG.match(concept.label)
        if flag:
            found[f"{flag[1]} flag"] += 0.1
            found[f"the flag of {flag[1]}"] += 0.1
        owned = self.owned.get(concept.code, [])
        best = max((score for _, score in owned), default=0)
        owned = [(word, score) for word, score in owned if score >= LEAST_SCORE * best]
        total = sum(score for _, score in owned)
        for word, score in owned:
            found[word] += 0.3 * score / total
            if word.isascii() and score >= 0.3 * best:
                found[article(word)] += 0.06 * score / total
        if colour and not self.is_held_out(concept, colour) and not COLOUR_WORD.search(label):
            for name in self.names(concept):
                found[self.coloured(name, colour)] += 0.05
        return dict(found)

    def of_recoloured(self, concept: Concept, colour: str) -> dict[str, float]:
        found: dict[str, float] = defaultdict(float)
        for name in self.names(concept):
            found[self.coloured(name, colour)] += 1.0
        return dict(found)

    def names(self, concept: Concept) -> list[str]:
        """What a colour word can stand before: the commonest English name and the commonest Chinese one."""
        english, chinese = self.everyday.get(concept.code, ((), ()))
        english = [COLOUR_WORD.sub("", name).strip() for name in (*english, tidy(concept.label))]
        chinese = [CHINESE_COLOUR.sub("", name) for name in (*chinese, *concept.chinese)]
        return [name for names in (english, chinese) for name in [next(filter(None, names), "")] if name]

    @staticmethod
    def coloured(name: str, colour: str) -> str:
        return f"{colour} {name}" if name.isascii() else f"{COLOURS[colour][3]}的{name}"

    def is_held_out(self, concept: Concept, colour: str) -> bool:
        words = set(re.findall(r"[a-z]+", concept.label.lower()))
        words.update(word for name in self.everyday.get(concept.code, ((), ()))[0] for word in name.split())
        return any((word, colour) in HELD_OUT for word in words)

    def takes_colours(self, concept: Concept) -> bool:
        return concept.group not in ("flags", "symbols") and ":" not in concept.label
