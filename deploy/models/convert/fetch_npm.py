#!/usr/bin/env python3
"""Fetches the archive of an npm package, from where an earlier download stopped. Needs no npm.

usage: fetch_npm.py NAME VERSION FOLDER --sha256 HEX

The registry is the one that npm is configured for: NPM_CONFIG_REGISTRY, what npm says where it is installed, else npm's
own. The archive is fetched with an HTTP range into `FOLDER/<sha256>.part` and becomes `FOLDER/<sha256>` once its hash is
right. A registry that lets nobody in without npm's credentials or certificates is asked through `npm pack`.

Standard output is for a machine: lines `progress DONE TOTAL`, in bytes. Errors go to standard error.
"""

import argparse
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

from fetch import CHUNK_BYTES, FRUITLESS_ATTEMPTS, Progress, Refused, sha256_of, size_of

DEFAULT_REGISTRY = "https://registry.npmjs.org"
# A server that says nothing for so long says nothing more.
TIMEOUT_SECONDS = 60


def registry():
    """Address of the configured registry, without a slash at the end."""
    named = os.environ.get("NPM_CONFIG_REGISTRY") or os.environ.get("npm_config_registry")
    if not named and shutil.which("npm"):
        asked = subprocess.run(["npm", "config", "get", "registry"], capture_output=True, text=True, check=False)
        named = asked.stdout.strip()
    if not named or not named.startswith(("https://", "http://")):
        named = DEFAULT_REGISTRY
    return named.rstrip("/")


def archive_address(name, version):
    """Where every registry keeps the archive of a version."""
    return f"{registry()}/{name}/-/{name.rpartition('/')[2]}-{version}.tgz"


def fetch_with_range(address, part, progress):
    """Appends what is missing to `part`, taking a broken connection up again."""
    fruitless = 0
    while True:
        before = size_of(part)
        try:
            append(address, part, progress)
            return
        except urllib.error.HTTPError:
            raise
        except OSError as error:
            fruitless = 0 if size_of(part) > before else fruitless + 1
            if fruitless >= FRUITLESS_ATTEMPTS:
                raise ConnectionError(f"{address}: {error}") from error
            if fruitless:
                time.sleep(2**fruitless)


def append(address, part, progress):
    """One request for what `part` still lacks."""
    have = size_of(part)
    request = urllib.request.Request(address, headers={"Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing after `have`: the file is whole
            return
        raise
    with response:
        if response.status != 206:  # a server without ranges sends everything again
            have = 0
        total = have + int(response.headers.get("Content-Length", 0))
        with open(part, "ab" if have else "wb") as file:
            while chunk := response.read1(CHUNK_BYTES):
                file.write(chunk)
                have += len(chunk)
                progress.show(have, max(total, have))
        if have < total:
            raise ConnectionError(f"the connection ended after {have} of {total} bytes")
        progress.show(have, total, now=True)


def fetch_with_npm(name, version, part):
    """`npm pack`, which knows the user's credentials, certificates and proxies."""
    with tempfile.TemporaryDirectory(dir=os.path.dirname(part)) as folder:
        command = ["npm", "pack", "--pack-destination", folder, f"{name}@{version}"]
        subprocess.run(command, check=True, stdout=sys.stderr)
        (archive,) = os.listdir(folder)
        os.replace(os.path.join(folder, archive), part)


def fetch(arguments, part):
    """The archive at `part`, its hash checked."""
    try:
        fetch_with_range(archive_address(arguments.name, arguments.version), part, Progress())
    except OSError as error:
        if not shutil.which("npm"):
            raise
        print(f"{error}: trying npm pack", file=sys.stderr)
        fetch_with_npm(arguments.name, arguments.version, part)
    found = sha256_of(part)
    if found != arguments.sha256:
        # Bytes that don't belong can't be mended by fetching the rest: the next try starts afresh.
        os.remove(part)
        raise Refused(f"{arguments.name}@{arguments.version} has sha256 {found}, expected {arguments.sha256}: refused")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("version")
    parser.add_argument("folder")
    parser.add_argument("--sha256", required=True)
    arguments = parser.parse_args()

    os.makedirs(arguments.folder, exist_ok=True)
    # One at a time, as in fetch.py.
    fcntl.flock(os.open(arguments.folder, os.O_RDONLY), fcntl.LOCK_EX)
    target = os.path.join(arguments.folder, arguments.sha256)
    if os.path.exists(target) and sha256_of(target) == arguments.sha256:
        return
    part = target + ".part"
    if not (os.path.exists(part) and sha256_of(part) == arguments.sha256):
        fetch(arguments, part)
    os.replace(part, target)


if __name__ == "__main__":
    try:
        main()
    except Refused as refusal:
        sys.exit(str(refusal))
    except KeyboardInterrupt:
        sys.exit("interrupted: the next try goes on from here")
    except Exception as failure:
        sys.exit(f"could not fetch: {failure}")
