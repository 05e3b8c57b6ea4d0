"""Reads values written in JavaScript, as bundlers leave them in npm packages, without running any of it."""

import re

# One token and the space before it. Keys may stand without quotes; `!0` and `!1` are how minifiers write true and false.
TOKEN = re.compile(
    r"""\s*(?:
        (?P<mark>[\[\]{}:,])
      | (?P<string>"[^"\\\n]*"|'[^'\\\n]*')
      | (?P<number>-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
      | (?P<word>!0|!1|[A-Za-z_$][\w$]*)
    )""",
    re.VERBOSE | re.ASCII,
)
WORDS = {"!0": True, "!1": False, "true": True, "false": False, "null": None}
# Nobody nests deeper, and Python's stack is bounded.
MAX_DEPTH = 32


class Refused(Exception):
    """The text is no plain value."""


class Reader:
    """Reads one value of strings, numbers, booleans, null, arrays and objects; anything else is refused."""

    def __init__(self, text, place=0):
        self._text, self._place = text, place

    def value(self, depth=0):
        if depth > MAX_DEPTH:
            raise Refused("nested too deeply")
        kind, token = self._next()
        if kind == "string":
            return token[1:-1]
        if kind == "number":
            return float(token) if re.search(r"[.eE]", token) else int(token)
        if kind == "word" and token in WORDS:
            return WORDS[token]
        if token == "[":
            return self._array(depth)
        if token == "{":
            return self._object(depth)
        raise Refused(f"{token[:20]!r} is no value")

    def _array(self, depth):
        items = []
        if self._take("]"):
            return items
        while True:
            items.append(self.value(depth + 1))
            if self._take("]"):
                return items
            self._expect(",")

    def _object(self, depth):
        fields = {}
        if self._take("}"):
            return fields
        while True:
            kind, token = self._next()
            if kind not in ("string", "word"):
                raise Refused(f"{token[:20]!r} is no key")
            key = token[1:-1] if kind == "string" else token
            if key in fields:
                raise Refused(f"key {key[:20]!r} stands twice")
            self._expect(":")
            fields[key] = self.value(depth + 1)
            if self._take("}"):
                return fields
            self._expect(",")

    def _next(self):
        match = TOKEN.match(self._text, self._place)
        if match is None:
            raise Refused(f"{self._text[self._place : self._place + 20]!r} is nothing that is read here")
        self._place = match.end()
        return match.lastgroup, match[match.lastgroup]

    def _take(self, mark):
        match = TOKEN.match(self._text, self._place)
        if match is None or match["mark"] != mark:
            return False
        self._place = match.end()
        return True

    def _expect(self, mark):
        if not self._take(mark):
            raise Refused(f"expected {mark!r}")


def value_after(text, mark):
    """The value that follows a mark, which must stand in the text once."""
    if text.count(mark) != 1:
        raise Refused(f"{mark!r} stands in the text {text.count(mark)} times")
    return Reader(text, text.index(mark) + len(mark)).value()
