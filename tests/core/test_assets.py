"""The manifest's form; locating, verifying and fetching, against a local server."""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from importlib import resources
from pathlib import Path
from types import MappingProxyType

import pytest

from tests.core.files_server import FilesServer, serve
from tfbench.core import assets, paths
from tfbench.core.assets import UNPINNED, Asset
from tfbench.core.download import StoppedError, part_of
from tfbench.core.errors import AssetError, ConfigError, MissingAsset, UnknownName

BODY = b"weights" * 1000
DIGEST = hashlib.sha256(BODY).hexdigest()
HTTP_HOSTS = {"www.robots.ox.ac.uk"}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FilesServer]:
    monkeypatch.setenv("no_proxy", "*")
    with serve() as running:
        running.files["/net.pt"] = BODY
        yield running


def example(**changes: object) -> Asset:
    pinned = Asset(
        name="small-net",
        title="Small net",
        file="small/net.pt",
        licence="MIT",
        source="https://example.org/paper",
        used_by=("lse",),
        urls=("https://example.org/net.pt",),
        page="https://example.org",
        size=len(BODY),
        sha256=DIGEST,
    )
    return replace(pinned, **changes)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch):
    """Replace the manifest by given assets."""

    def use(*entries: Asset) -> None:
        mapping = MappingProxyType({entry.name: entry for entry in entries})
        monkeypatch.setattr(assets, "manifest", lambda: mapping)

    return use


def put(name: str, content: bytes = BODY) -> Path:
    file = assets.path(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


# The shipped manifest


def test_names_are_unique_in_the_text() -> None:
    text = resources.files("tfbench.core").joinpath("assets.yaml").read_text("utf-8")
    names = re.findall(r"^([^\s#:][^:]*):", text, flags=re.MULTILINE)
    assert names == list(assets.manifest())
    assert len(set(names)) == len(names)


def test_every_url_is_https_or_a_known_exception() -> None:
    for entry in assets.manifest().values():
        for url in entry.urls:
            scheme, _, rest = url.partition("://")
            assert scheme == "https" or rest.split("/")[0] in HTTP_HOSTS, url


def test_a_hash_in_a_url_or_file_name_is_the_pinned_one() -> None:
    for entry in assets.manifest().values():
        for url in entry.urls:
            for digest in re.findall(r"/([0-9a-f]{64})/", url):
                assert entry.sha256 == digest, entry.name
        stated = re.search(r"-([0-9a-f]{8,10})\.pth$", entry.file)
        if stated:
            assert entry.sha256.startswith(stated[1]), entry.name


def test_pinned_hashes_are_distinct() -> None:
    pinned = [entry.sha256 for entry in assets.manifest().values() if entry.pinned]
    assert len(set(pinned)) == len(pinned)


def test_what_the_metrics_need_is_pinned() -> None:
    for name in ("syncnet-v2", "inception-fid", "vggface2", "lpips-alexnet", "whisper-base-en"):
        entry = assets.asset(name)
        assert entry.pinned
        assert entry.size


def test_manifest_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        assets.manifest()["x"] = example()  # type: ignore[index]


GOOD = """
a-net:
  title: A
  file: a.pt
  licence: MIT
  source: https://example.org
  used_by: [lse]
  page: https://example.org
  sha256: unpinned
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("a-net:", "A_net:", "A_net: name"),
        ("file: a.pt", "file: ../a.pt", "a-net: file"),
        ("file: a.pt", "file: /a.pt", "a-net: file"),
        ("sha256: unpinned", "sha256: abc", "sha256"),
        ("sha256: unpinned", "", "sha256: Field required"),
        ("page: https://example.org", "urls: ['file:///etc/passwd']", "urls"),
        ("page: https://example.org", "", "neither a URL nor a page"),
        ("used_by: [lse]", "used_by: []", "used_by"),
        ("title: A", "title: A\n  size: '5'", r"size: .*got '5'"),
        ("title: A", "title: A\n  size: 0", "size"),
        ("title: A", "title: A\n  licens: MIT", "licens"),
        ("title: A", "title: [", "not YAML"),
        ("title: A", "title: !!python/object/apply:os.getcwd []", "not YAML"),
    ],
)
def test_broken_manifest_is_refused(old: str, new: str, message: str) -> None:
    assert assets.parse(GOOD)["a-net"].file == "a.pt"
    with pytest.raises(ConfigError, match=message):
        assets.parse(GOOD.replace(old, new, 1))


@pytest.mark.parametrize("text", ["", "- a", "a: b"])
def test_manifest_of_another_shape_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="must map"):
        assets.parse(text)


def test_two_assets_of_one_file_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"a-net and b-net share the file a\.pt"):
        assets.parse(GOOD + GOOD.replace("a-net", "b-net"))


# Where a file is, and whether it is the right one


def test_unknown_name_suggests() -> None:
    with pytest.raises(UnknownName, match=r"did you mean .*syncnet-v2"):
        assets.asset("SyncNet_v2")
    with pytest.raises(UnknownName, match="tfbench assets list"):
        assets.path("qqqq")


def test_missing_asset_says_everything() -> None:
    with pytest.raises(MissingAsset) as caught:
        assets.locate("syncnet-v2")
    entry, text = assets.asset("syncnet-v2"), str(caught.value)
    for fact in (
        entry.title,
        "54.6 MB",
        entry.licence,
        entry.urls[0],
        entry.sha256,
        str(paths.assets_dir() / "syncnet_v2.model"),
        "tfbench assets get syncnet-v2",
    ):
        assert fact in text


def test_gated_asset_says_where_to_get_it() -> None:
    for act in (assets.locate, assets.fetch):
        with pytest.raises(MissingAsset, match=r"faces\.dmi\.unibas\.ch.* by hand and put it at"):
            act("bfm-2009")


def test_truncated_syncnet_is_refused() -> None:
    put("syncnet-v2", bytes(824_000))
    assert assets.state("syncnet-v2") == "damaged"
    with pytest.raises(AssetError, match=r"truncated copy of SyncNet v2.*824,000.*54,573,114"):
        assets.locate("syncnet-v2")


def test_right_file_is_located_and_hashed_once(known, monkeypatch: pytest.MonkeyPatch) -> None:
    known(example())
    file = put("small-net")
    assert assets.locate("small-net") == file
    hashed: list[Path] = []
    monkeypatch.setattr(assets, "sha256_of", lambda path: hashed.append(path) or DIGEST)
    assets.locate("small-net")
    assert hashed == []
    os.utime(file, ns=(1, 1))
    assets.locate("small-net")
    assert hashed == [file]
    assert len(json.loads((paths.cache_dir() / "asset-hashes.json").read_text())) == 1


@pytest.mark.parametrize("content", ["", "{torn", "[]", "{}"])
def test_lost_or_torn_hash_cache_is_made_anew(known, content: str) -> None:
    known(example())
    put("small-net")
    paths.cache_dir().mkdir(parents=True)
    (paths.cache_dir() / "asset-hashes.json").write_text(content)
    assert assets.locate("small-net")


def test_wrong_hash_names_both(known) -> None:
    known(example())
    put("small-net", b"Weights" + BODY[7:])
    assert assets.state("small-net") == "present"
    with pytest.raises(AssetError, match=rf"is not Small net.*sha256 [0-9a-f]{{64}}.*{DIGEST}"):
        assets.locate("small-net")
    assert assets.state("small-net") == "damaged"


def test_longer_file_is_another_file(known) -> None:
    known(example())
    put("small-net", BODY + b"x")
    with pytest.raises(AssetError, match=r"is not Small net: it has 7,001 bytes where 7,000"):
        assets.locate("small-net")


def test_unpinned_asset_remembers_the_first_hash(known) -> None:
    known(example(sha256=UNPINNED, size=None))
    file = put("small-net")
    assets.locate("small-net")
    sidecar = file.with_name("net.pt.sha256")
    assert sidecar.read_text() == f"{DIGEST}  net.pt\n"
    put("small-net", b"changed")
    with pytest.raises(AssetError, match=rf"{DIGEST}; delete .*net\.pt\.sha256 if the change"):
        assets.locate("small-net")
    sidecar.unlink()
    assert assets.locate("small-net") == file


def test_own_copy_by_environment(known, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known(example())
    own = tmp_path / "mine.pt"
    monkeypatch.setenv("TFBENCH_ASSET_SMALL_NET", str(own))
    assert assets.path("small-net") == own
    own.write_bytes(b"not it")
    with pytest.raises(AssetError, match="truncated"):
        assets.fetch("small-net")
    assert own.read_bytes() == b"not it"


def test_sha256_of_equals_hashlib(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(BODY * 200)
    assert assets.sha256_of(file) == hashlib.sha256(BODY * 200).hexdigest()


# Fetching


def test_fetch_puts_the_file_in_place(known, server: FilesServer) -> None:
    known(example(urls=(f"{server.url}/net.pt",)))
    assert assets.state("small-net") == "missing"
    seen: list[int] = []
    file = assets.fetch("small-net", lambda done, _: seen.append(done))
    assert file.read_bytes() == BODY
    assert seen[-1] == len(BODY)
    assert [path.name for path in file.parent.iterdir()] == ["net.pt"]
    assert assets.state("small-net") == "present"
    assets.fetch("small-net")
    assert len(server.asked) == 1


def test_fetch_continues(known, server: FilesServer) -> None:
    known(example(urls=(f"{server.url}/net.pt",)))
    server.break_after = 100
    with pytest.raises(AssetError, match=r"Small net .* could not be fetched: .*broke off"):
        assets.fetch("small-net")
    server.break_after = None
    assert assets.fetch("small-net").read_bytes() == BODY
    assert server.asked[-1] == ("/net.pt", "bytes=100-")


def test_fetch_of_a_wrong_file_leaves_nothing(known, server: FilesServer) -> None:
    known(example(urls=(f"{server.url}/net.pt",)))
    server.files["/net.pt"] = b"W" + BODY[1:]
    with pytest.raises(AssetError, match=f"gave another file, which was deleted.*{DIGEST}"):
        assets.fetch("small-net")
    assert list(assets.path("small-net").parent.iterdir()) == []


def test_fetch_of_a_web_page_says_so(known, server: FilesServer) -> None:
    known(example(urls=(f"{server.url}/net.pt",), size=None))
    server.files["/net.pt"] = b"<!DOCTYPE html><title>Log in</title>"
    with pytest.raises(AssetError, match="gave a web page"):
        assets.fetch("small-net")


def test_fetch_tries_urls_in_order(known, server: FilesServer) -> None:
    known(example(urls=(f"{server.url}/gone", f"{server.url}/net.pt")))
    assert assets.fetch("small-net").read_bytes() == BODY
    del server.files["/net.pt"]
    assets.path("small-net").unlink()
    with pytest.raises(AssetError, match=r"/gone: the server answered 404.*/net\.pt: the server"):
        assets.fetch("small-net")


def test_fetch_replaces_a_damaged_file(known, server: FilesServer) -> None:
    known(example(urls=(f"{server.url}/net.pt",)))
    put("small-net", b"damaged")
    assert assets.fetch("small-net").read_bytes() == BODY


def test_fetch_of_an_unpinned_asset_remembers_its_hash(known, server: FilesServer) -> None:
    known(example(urls=(f"{server.url}/net.pt",), sha256=UNPINNED, size=None))
    file = assets.fetch("small-net")
    assert file.with_name("net.pt.sha256").read_text().startswith(DIGEST)
    file.unlink()
    server.files["/net.pt"] = b"changed"
    with pytest.raises(AssetError, match=r"gave another file.*net\.pt\.sha256 has"):
        assets.fetch("small-net")


def test_ctrl_c_does_not_try_the_next_url(known, server: FilesServer) -> None:
    known(example(urls=(f"{server.url}/net.pt", f"{server.url}/net.pt")))

    def press(done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(StoppedError):
        assets.fetch("small-net", press)
    assert len(server.asked) == 1
    assert part_of(assets.path("small-net")).exists()


def test_folder_that_cannot_be_made(known, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    known(example())
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TFBENCH_HOME", str(tmp_path / "file"))
    with pytest.raises(AssetError, match="cannot be made: Not a directory"):
        assets.fetch("small-net")


def test_what_is_called_read_is_what_the_package_names():
    package = Path(assets.__file__).parents[1]
    code = "".join(path.read_text() for path in package.rglob("*.py"))
    methods = {"speech2vid", "synctalklip"}  # their names stand in the code, their files do not
    for entry in assets.manifest().values():
        named = f'"{entry.name}"' in code and entry.name not in methods
        assert named == entry.read, entry.name
