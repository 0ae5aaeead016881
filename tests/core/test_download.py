"""Downloads against a local server: whole, resumed, broken, refused."""

import errno
import urllib.request
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.core.files_server import FilesServer, serve
from tfbench.core import download as module
from tfbench.core.download import (
    StoppedError,
    check_space,
    download,
    human_size,
    origin_of,
    part_of,
)
from tfbench.core.errors import AssetError

BODY = bytes(range(256)) * 40


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FilesServer]:
    monkeypatch.setenv("no_proxy", "*")
    with serve() as running:
        running.files["/net.pt"] = BODY
        yield running


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "net.pt"


def broken_off(server: FilesServer, target: Path, n_bytes: int) -> None:
    """Leave `n_bytes` of an interrupted download."""
    server.break_after = n_bytes
    with pytest.raises(AssetError, match="broke off"):
        download(f"{server.url}/net.pt", target)
    server.break_after = None
    assert part_of(target).read_bytes() == BODY[:n_bytes]
    server.asked.clear()


def test_whole_file_with_progress(server: FilesServer, target: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    part = download(f"{server.url}/net.pt", target, progress=lambda *at: seen.append(at))
    assert part.read_bytes() == BODY
    assert not target.exists()
    assert seen[0] == (0, len(BODY))
    assert seen[-1] == (len(BODY), len(BODY))


def test_resumes_where_it_broke_off(server: FilesServer, target: Path) -> None:
    broken_off(server, target, 3000)
    part = download(f"{server.url}/net.pt", target)
    assert part.read_bytes() == BODY
    assert server.asked == [("/net.pt", "bytes=3000-")]


def test_message_of_a_broken_download_says_what_is_kept(server: FilesServer, target: Path) -> None:
    server.break_after = 3000
    with pytest.raises(AssetError, match=r"3,000 of 10,240 bytes.*3\.0 kB are kept in .*continues"):
        download(f"{server.url}/net.pt", target)


def test_server_without_ranges_starts_over(server: FilesServer, target: Path) -> None:
    broken_off(server, target, 3000)
    server.ranges = False
    assert download(f"{server.url}/net.pt", target).read_bytes() == BODY


def test_changed_file_is_not_joined_with_the_old_one(server: FilesServer, target: Path) -> None:
    broken_off(server, target, 3000)
    server.etag, server.files["/net.pt"] = '"v2"', BODY[::-1]
    assert download(f"{server.url}/net.pt", target).read_bytes() == BODY[::-1]


@pytest.mark.parametrize("etag", ["", 'W/"weak"'])
def test_without_a_strong_validator_only_a_checked_file_is_resumed(
    server: FilesServer, target: Path, etag: str
) -> None:
    server.etag = etag
    broken_off(server, target, 3000)
    assert download(f"{server.url}/net.pt", target).read_bytes() == BODY
    assert server.asked == [("/net.pt", None)]
    part_of(target).unlink()
    broken_off(server, target, 3000)
    assert download(f"{server.url}/net.pt", target, checked=True).read_bytes() == BODY
    assert server.asked == [("/net.pt", "bytes=3000-")]


def test_another_url_continues_only_a_checked_file(server: FilesServer, target: Path) -> None:
    server.files["/mirror.pt"] = BODY
    broken_off(server, target, 3000)
    download(f"{server.url}/mirror.pt", target, checked=True)
    assert server.asked == [("/mirror.pt", "bytes=3000-")]
    part_of(target).unlink()
    broken_off(server, target, 3000)
    download(f"{server.url}/mirror.pt", target)
    assert server.asked == [("/mirror.pt", None)]


def test_complete_part_of_known_size_needs_no_server(server: FilesServer, target: Path) -> None:
    part_of(target).write_bytes(BODY)
    download(f"{server.url}/net.pt", target, size=len(BODY), checked=True)
    assert server.asked == []


def test_part_longer_than_the_file_is_discarded(server: FilesServer, target: Path) -> None:
    part_of(target).write_bytes(BODY + b"more")
    part = download(f"{server.url}/net.pt", target, size=len(BODY), checked=True)
    assert part.read_bytes() == BODY


def test_unsatisfiable_range_starts_over(server: FilesServer, target: Path) -> None:
    part_of(target).write_bytes(b"x" * (len(BODY) + 5))
    assert download(f"{server.url}/net.pt", target, checked=True).read_bytes() == BODY
    assert [asked for _, asked in server.asked] == ["bytes=10245-", None]


def test_other_size_is_refused_before_downloading(server: FilesServer, target: Path) -> None:
    with pytest.raises(AssetError, match="offers 10,240 bytes where 9,999 were wanted"):
        download(f"{server.url}/net.pt", target, size=9999)
    assert not part_of(target).exists()


def test_server_that_does_not_tell_the_length(server: FilesServer, target: Path) -> None:
    server.length = False
    totals: set[int | None] = set()
    part = download(f"{server.url}/net.pt", target, progress=lambda _, total: totals.add(total))
    assert part.read_bytes() == BODY
    assert totals == {None}


def test_missing_page_and_unreachable_host(server: FilesServer, target: Path) -> None:
    with pytest.raises(AssetError, match=r"/gone: the server answered 404"):
        download(f"{server.url}/gone", target)
    with pytest.raises(AssetError, match="cannot be reached"):
        download("http://127.0.0.1:1/net.pt", target)


def test_stalled_server(server: FilesServer, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stall(*args: object, **kwargs: object) -> None:
        raise TimeoutError("timed out")

    broken_off(server, target, 3000)
    monkeypatch.setattr(urllib.request, "urlopen", stall)
    with pytest.raises(AssetError, match=r"broke off \(timed out\); 3\.0 kB are kept"):
        download(f"{server.url}/net.pt", target)


def test_ctrl_c_keeps_what_arrived(server: FilesServer, target: Path) -> None:
    def press(done: int, total: int | None) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(StoppedError, match=r"stopped; .* are kept"):
        download(f"{server.url}/net.pt", target, progress=press)
    assert part_of(target).read_bytes() == BODY
    assert origin_of(target).read_text().startswith(server.url)


def test_full_disk_and_unwritable_folder(
    server: FilesServer, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(done: int, total: int | None) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(AssetError, match=r"the disk of .* is full"):
        download(f"{server.url}/net.pt", target, progress=full)
    with pytest.raises(AssetError, match="cannot be written: Is a directory"):
        part_of(target).unlink()
        part_of(target).mkdir()
        download(f"{server.url}/net.pt", target)


def test_space_is_checked_first(
    server: FilesServer, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage(10**6, 10**6, 1024))
    with pytest.raises(AssetError, match=r"has 1\.0 kB free, 54\.6 MB are needed.*TFBENCH_HOME"):
        check_space(target.parent, 54_573_114)
    with pytest.raises(AssetError, match=r"10\.2 kB are needed"):
        download(f"{server.url}/net.pt", target)
    assert not part_of(target).exists()


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [
        (None, "size not known"),
        (999, "999 bytes"),
        (824_000, "824.0 kB"),
        (54_573_114, "54.6 MB"),
        (3_087_371_615, "3.1 GB"),
    ],
)
def test_human_size(n_bytes: int | None, text: str) -> None:
    assert human_size(n_bytes) == text
