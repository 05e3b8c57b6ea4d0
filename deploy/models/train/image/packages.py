"""Reads the public packages of README.md: icon sets of emoji and their names in English and Chinese."""

import json
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

# Style, package. The first three are what the flow learns to draw; the last joins the faces of the GAN.
ICON_SETS = {
    "noto": "iconify-json-noto-1.2.9.tgz",
    "flat": "iconify-json-fluent-emoji-flat-1.2.6.tgz",
    "twemoji": "iconify-json-twemoji-1.2.5.tgz",
    "noto-v1": "iconify-json-noto-v1-1.2.5.tgz",
}
# A set without codes is read by those of this one; names agree.
CODED = "twemoji"
NAMES = "emojibase-data-17.0.0.tgz"
CHINESE = ("zh", "zh-hant")


@dataclass(frozen=True)
class Concept:
    """One emoji, whatever its style."""

    code: str
    label: str
    tags: tuple[str, ...]
    group: str
    subgroup: str
    gendered: bool
    chinese: tuple[str, ...]
    chinese_tags: tuple[str, ...] = field(default=())


def plain_code(code: str) -> str:
    """Without the selectors that some sets write and some leave out."""
    return "-".join(part for part in code.upper().split("-") if part != "FE0F")


def read(archive: tarfile.TarFile, name: str):
    return json.load(archive.extractfile(f"package/{name}"))


def concepts(folder: Path) -> dict[str, Concept]:
    """Every emoji that belongs to a group, by its code."""
    with tarfile.open(folder / NAMES) as archive:
        kinds = read(archive, "meta/groups.json")
        entries = read(archive, "en/data.json")
        chinese = [{entry["hexcode"]: entry for entry in read(archive, f"{place}/data.json")} for place in CHINESE]
    found = {}
    for entry in entries:
        if "group" not in entry:
            continue
        translated = [names[entry["hexcode"]] for names in chinese if entry["hexcode"] in names]
        code = plain_code(entry["hexcode"])
        found[code] = Concept(
            code=code,
            label=entry["label"],
            tags=tuple(entry.get("tags") or ()),
            group=kinds["groups"][str(entry["group"])],
            subgroup=kinds["subgroups"][str(entry["subgroup"])],
            gendered="gender" in entry,
            chinese=tuple(dict.fromkeys(names["label"] for names in translated)),
            chinese_tags=tuple(dict.fromkeys(tag for names in translated for tag in names.get("tags") or ())),
        )
    return found


def icons(folder: Path, style: str) -> dict[str, str]:
    """A style's pictures as SVG, by code; one for each code, aliases left out."""
    with tarfile.open(folder / ICON_SETS[style]) as archive:
        collection, codes = read(archive, "icons.json"), read(archive, "chars.json")
    if not codes:
        with tarfile.open(folder / ICON_SETS[CODED]) as archive:
            codes = read(archive, "chars.json")
    width = collection.get("width", 16)
    height = collection.get("height", width)
    found = {}
    for code, name in codes.items():
        icon = collection["icons"].get(name)
        if icon is None:
            continue
        wide, high = icon.get("width", width), icon.get("height", height)
        found[plain_code(code)] = (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'width="{wide}" height="{high}" viewBox="{icon.get("left", 0)} {icon.get("top", 0)} {wide} {high}">'
            f"{icon['body']}</svg>"
        )
    return found
