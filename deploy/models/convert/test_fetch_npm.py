#!/usr/bin/env python3
"""Tests of fetch_npm.py against a registry on loopback that breaks off, lies, or lets nobody in. usage: test_fetch_npm.py"""

import hashlib
import os
import stat
import subprocess
import sys
import tempfile
import threading
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FETCH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "fetch_npm.py")
ARCHIVE = os.urandom(3 << 20)
HASH = hashlib.sha256(ARCHIVE).hexdigest()


class Registry(ThreadingHTTPServer):
    """Serves one archive, at most `cut` bytes of it in one answer; notes what each request asked for."""

    def __init__(self, cut=None, refuses=False):
        super().__init__(("127.0.0.1", 0), Handler)
        self.cut, self.refuses, self.asked = cut, refuses, []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        wanted = self.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        self.server.asked.append((self.path, start))
        if self.server.refuses:
            self.send_error(401)
            return
        body = ARCHIVE[start:]
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.cut])
        self.close_connection = True

    def log_message(self, *_):
        pass


class FetchNpmTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def registry(self, **settings):
        registry = Registry(**settings)
        self.addCleanup(registry.server_close)
        self.addCleanup(registry.shutdown)
        return registry

    def fetch(self, registry, name="thing", sha256=HASH, path="/nowhere"):
        """With no npm to be found but what lies in `path`."""
        address = f"http://127.0.0.1:{registry.server_address[1]}/npm/"
        environment = {"PATH": path, "NPM_CONFIG_REGISTRY": address, "NO_PROXY": "127.0.0.1"}
        command = [sys.executable, FETCH, name, "1.0.0", self.folder, "--sha256", sha256]
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    def assert_fetched(self, result):
        self.assertEqual(result.returncode, 0, result.stderr)
        with open(os.path.join(self.folder, HASH), "rb") as file:
            self.assertEqual(file.read(), ARCHIVE)
        self.assertEqual(os.listdir(self.folder), [HASH])

    def test_a_connection_that_breaks_off_is_taken_up_again(self):
        registry = self.registry(cut=1 << 20)
        result = self.fetch(registry)
        self.assert_fetched(result)
        path = "/npm/thing/-/thing-1.0.0.tgz"
        self.assertEqual(registry.asked, [(path, 0), (path, 1 << 20), (path, 2 << 20)])
        self.assertIn(f"progress {len(ARCHIVE)} {len(ARCHIVE)}", result.stdout)

    def test_a_scope_stands_before_the_name_alone(self):
        registry = self.registry()
        self.assert_fetched(self.fetch(registry, name="@some/thing"))
        self.assertEqual(registry.asked, [("/npm/@some/thing/-/thing-1.0.0.tgz", 0)])

    def test_what_a_killed_process_left_is_not_fetched_again(self):
        with open(os.path.join(self.folder, HASH + ".part"), "wb") as file:
            file.write(ARCHIVE[:1_234_567])
        registry = self.registry()
        self.assert_fetched(self.fetch(registry))
        self.assertEqual([start for _, start in registry.asked], [1_234_567])

    def test_other_bytes_are_refused_and_thrown_away(self):
        result = self.fetch(self.registry(), sha256="0" * 64)
        self.assertEqual(result.returncode, 1)
        self.assertIn("refused", result.stderr)
        self.assertEqual(os.listdir(self.folder), [])

    def test_a_registry_that_wants_credentials_is_asked_by_npm(self):
        registry = self.registry(refuses=True)
        refused = self.fetch(registry)
        self.assertIn("401", refused.stderr)
        self.assertEqual(refused.returncode, 1)
        with tempfile.TemporaryDirectory() as tools:
            with open(os.path.join(tools, "archive"), "wb") as file:
                file.write(ARCHIVE)
            npm = os.path.join(tools, "npm")
            # Called as `npm pack --pack-destination FOLDER NAME@VERSION`.
            with open(npm, "w", encoding="utf-8") as file:
                file.write(f"#!{sys.executable}\nimport shutil, sys\nassert sys.argv[4] == 'thing@1.0.0'\n")
                file.write(f"shutil.copy({os.path.join(tools, 'archive')!r}, sys.argv[3])\n")
            os.chmod(npm, os.stat(npm).st_mode | stat.S_IXUSR)
            self.assert_fetched(self.fetch(registry, path=tools))


if __name__ == "__main__":
    unittest.main()
