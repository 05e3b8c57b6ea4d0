#!/usr/bin/env python3
"""Writes the configuration files that a rendered chart holds: one `<component>.yaml` for each ConfigMap.

usage: configs.py RENDERED.yaml FOLDER
"""

import pathlib
import sys

import yaml


def main():
    rendered, folder = map(pathlib.Path, sys.argv[1:])
    for document in yaml.safe_load_all(rendered.read_text()):
        if document and document["kind"] == "ConfigMap" and "config.yaml" in document["data"]:
            component = document["metadata"]["labels"]["app.kubernetes.io/component"]
            (folder / f"{component}.yaml").write_text(document["data"]["config.yaml"])


if __name__ == "__main__":
    main()
