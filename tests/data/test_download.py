import gzip
import hashlib
import os
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from danlu.data import fashion
from danlu.data.download import STALE_S, Wanted, content_sha256, download
from danlu.errors import DataError

CONTENT = bytes(range(256)) * 2000
PACKED = gzip.compress(CONTENT, mtime=0)
WANTED = Wanted("a.gz", len(PACKED), hashlib.sha256(CONTENT).hexdigest())
OTHER = gzip.compress(CONTENT[::-1], mtime=0)
BODIES = {  # what a mirror of this name sends, and how many bytes it promises
    "good": (PACKED, len(PACKED)),
    "short": (PACKED[:-100], len(PACKED) - 100),
    "cut": (PACKED[: len(PACKED) // 2], len(PACKED)),
    "long": (PACKED + b"x", len(PACKED) + 1),
    "other": (OTHER, len(OTHER)),
    "noise": (b"x" * len(PACKED), len(PACKED)),
}


class Mirror(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        kind = self.path.split("/")[1]
        if kind not in BODIES or not self.path.endswith("/a.gz"):
            self.send_error(404)
            return
        body, promised = BODIES[kind]
        self.send_response(200)
        self.send_header("Content-Length", str(promised))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Server(socketserver.ThreadingMixIn, HTTPServer):
    daemon_threads = True


@pytest.fixture(scope="module")
def mirror() -> Iterator[str]:
    with Server(("127.0.0.1", 0), Mirror) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_whole_file_arrives(tmp_path: Path, mirror: str) -> None:
    path = download(WANTED, tmp_path / "new" / "folder", [f"{mirror}/good/"])
    assert path == tmp_path / "new" / "folder" / "a.gz"
    assert path.read_bytes() == PACKED
    assert os.listdir(path.parent) == ["a.gz"]
    assert content_sha256(path) == WANTED.sha256


def test_the_next_mirror_helps(tmp_path: Path, mirror: str) -> None:
    assert len(OTHER) == len(PACKED)  # so that "other" passes every test but the hash
    download(WANTED, tmp_path, [f"{mirror}/{kind}" for kind in ("none", "cut", "other", "good")])
    assert (tmp_path / "a.gz").read_bytes() == PACKED


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("none", "404"),
        ("short", f"{len(PACKED) - 100} bytes of {len(PACKED)}"),
        ("cut", f"{len(PACKED) // 2} bytes of {len(PACKED)}|IncompleteRead"),
        ("long", "more than the"),
        ("other", "content with SHA-256"),
        ("noise", "SHA-256"),
    ],
)
def test_a_bad_file_leaves_nothing(tmp_path: Path, mirror: str, kind: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        download(WANTED, tmp_path, [f"{mirror}/{kind}"])
    assert os.listdir(tmp_path) == []


def test_a_mirror_that_does_not_answer(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="refused"):
        download(WANTED, tmp_path, ["http://127.0.0.1:9/"])
    assert os.listdir(tmp_path) == []


def test_a_good_file_is_not_touched_by_a_bad_download(tmp_path: Path, mirror: str) -> None:
    (tmp_path / "a.gz").write_bytes(b"old")
    with pytest.raises(DataError):
        download(WANTED, tmp_path, [f"{mirror}/cut"])
    assert (tmp_path / "a.gz").read_bytes() == b"old"


def test_what_a_killed_download_left_is_swept_up(tmp_path: Path, mirror: str) -> None:
    old, new = tmp_path / ".a.gz.1.part", tmp_path / ".a.gz.2.part"
    old.touch(), new.touch()
    os.utime(old, (0, new.stat().st_mtime - 2 * STALE_S))
    download(WANTED, tmp_path, [f"{mirror}/good"])
    assert sorted(os.listdir(tmp_path)) == [".a.gz.2.part", "a.gz"]


def test_fetch_mends_what_is_missing_or_damaged(tmp_path: Path, mirror: str) -> None:
    cache, system = tmp_path / "cache", tmp_path / "system"
    places, good = [cache, system], [f"{mirror}/good"]
    with pytest.raises(DataError) as caught:
        fashion.fetch(places, [f"{mirror}/none", f"{mirror}/cut"], [WANTED])
    for part in (
        f"{cache}: a.gz missing",
        f"{system}: a.gz missing",
        "404",
        "/cut/a.gz",
        "apt-get",
        "danlu data fetch",
    ):
        assert part in str(caught.value)
    system.mkdir()
    (system / "a.gz").write_bytes(gzip.compress(CONTENT, 1))  # packed otherwise, as Debian does
    assert fashion.fetch(places, [], [WANTED]) == system
    (system / "a.gz").write_bytes(PACKED[:-50])
    assert fashion.fetch(places, good, [WANTED]) == cache
    (cache / "a.gz").write_bytes(OTHER)
    with pytest.raises(DataError, match=r"a\.gz other content"):
        fashion.fetch([cache], [], [WANTED])
    assert fashion.fetch([cache], good, [WANTED]) == cache
    assert (cache / "a.gz").read_bytes() == PACKED
