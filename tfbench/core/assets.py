"""Official networks by name: where each lies, whether it is the right file, how to fetch it.

The manifest `assets.yaml` beside this file states what is known of each network: title, file,
URLs, size, sha256, licence, source and what uses it. Nothing is downloaded at import or by
asking for a network: `locate` raises where the file is absent, only `fetch` downloads.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import json
import os
import tempfile
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Literal

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from tfbench.core import paths
from tfbench.core.download import (
    StoppedError,
    check_space,
    discard,
    download,
    human_size,
    part_of,
)
from tfbench.core.errors import AssetError, ConfigError, MissingAsset, UnknownName

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tfbench.core.download import Progress

__all__ = [
    "UNPINNED",
    "Asset",
    "State",
    "asset",
    "fetch",
    "locate",
    "manifest",
    "parse",
    "path",
    "recorded_sha256",
    "sha256_of",
    "state",
]

UNPINNED = "unpinned"
CHUNK = 1 << 20

State = Literal["present", "missing", "damaged", "gated"]
"""present: there, of the right size, and of the right hash as far as it was hashed before;
missing: absent, `fetch` can get it; gated: absent, a person must get it from its page;
damaged: there, but not what the manifest describes."""

_Text = Annotated[str, Field(min_length=1)]
_Url = Annotated[str, Field(pattern=r"^https?://\S+$")]


@dataclass(frozen=True, kw_only=True)
class Asset:
    """One file that others made and that tfbench reads.

    Attributes:
        name: Lower case with dashes; the key in the manifest.
        title: For people.
        file: Where it belongs below the assets folder, with forward slashes.
        licence: As the source states it; "not stated" where it does not.
        source: Page or repository of the paper.
        used_by: Metrics and methods that it is for.
        read: Whether anything in this package reads it yet.
        urls: Tried in order; empty where a person must get the file from `page`.
        page: Where a person finds the file or must accept its licence.
        size: Bytes; None where no source states them.
        sha256: 64 hexadecimal digits, or "unpinned" where no source states them.
        note: What a user should know.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    title: _Text
    file: Annotated[str, Field(pattern=r"^\w[\w+.-]*(/\w[\w+.-]*)*$")]
    licence: _Text
    source: _Url
    used_by: Annotated[tuple[_Text, ...], Field(min_length=1)]
    read: bool = True
    urls: tuple[_Url, ...] = ()
    page: Annotated[str, Field(pattern=r"^(https?://\S+)?$")] = ""
    size: Annotated[int, Field(gt=0)] | None = None
    sha256: Annotated[str, Field(pattern=rf"^([0-9a-f]{{64}}|{UNPINNED})$")]
    note: str = ""

    __pydantic_config__ = ConfigDict(strict=True, extra="forbid")

    @property
    def pinned(self) -> bool:
        """Whether the manifest knows the file's hash."""
        return self.sha256 != UNPINNED


@cache
def manifest() -> Mapping[str, Asset]:
    """Return every known asset by name, in the manifest's order.

    Raises:
        ConfigError: The shipped manifest is broken.
    """
    text = resources.files("tfbench.core").joinpath("assets.yaml").read_text("utf-8")
    return MappingProxyType(parse(text))


def parse(text: str) -> dict[str, Asset]:
    """Read a manifest in YAML: name -> the other fields of `Asset`.

    Raises:
        ConfigError: A key is unknown, missing or of the wrong type or form; two assets share a
            file; or an asset has neither a URL nor a page.
    """
    # The C loader is as safe as SafeLoader and ten times faster.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        entries = yaml.load(text, Loader=loader)  # noqa: S506 - a safe loader either way
    except yaml.YAMLError as error:
        raise ConfigError(f"the asset manifest is not YAML: {error}") from error
    if not isinstance(entries, dict) or not all(isinstance(e, dict) for e in entries.values()):
        raise ConfigError("the asset manifest must map each name to its fields")
    named = {str(name): {"name": name, **fields} for name, fields in entries.items()}
    try:
        # Through JSON, where pydantic's strict mode takes arrays for tuples and nothing else.
        assets = TypeAdapter(dict[str, Asset]).validate_json(json.dumps(named, default=str))
    except ValidationError as error:
        first = error.errors()[0]
        where = ": ".join(str(step) for step in first["loc"])
        raise ConfigError(
            f"asset manifest: {where}: {first['msg']} (got {first['input']!r})"
        ) from error
    owners: dict[str, str] = {}
    for name, entry in assets.items():
        if entry.file in owners:
            raise ConfigError(f"assets {owners[entry.file]} and {name} share the file {entry.file}")
        owners[entry.file] = name
        if not entry.urls and not entry.page:
            raise ConfigError(f"asset {name} has neither a URL nor a page that tells how to get it")
    return assets


def asset(name: str) -> Asset:
    """Return one asset of the manifest.

    Raises:
        UnknownName: No asset has that name.
    """
    entries = manifest()
    if name in entries:
        return entries[name]
    close = difflib.get_close_matches(name.lower().replace("_", "-"), entries, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else "`tfbench assets list` shows all"
    raise UnknownName(f"no asset is called {name!r}; {hint}")


def _override(name: str) -> str:
    return f"TFBENCH_ASSET_{name.upper().replace('-', '_')}"


def path(name: str) -> Path:
    """Return where an asset lies or belongs, whether or not it is there.

    That is `$TFBENCH_ASSET_<NAME>` where it is set (`TFBENCH_ASSET_SYNCNET_V2` for syncnet-v2),
    else the asset's file below `paths.assets_dir()`.
    """
    entry = asset(name)
    own = os.environ.get(_override(name))
    return Path(own).expanduser() if own else paths.assets_dir() / entry.file


def locate(name: str) -> Path:
    """Return the path of an asset's file, after checking that it is the right file.

    A hash is computed once per path, size and modification time.

    Raises:
        UnknownName: No asset has that name.
        MissingAsset: The file is not there; the message says where it comes from and belongs.
        AssetError: The file is not what the manifest describes.
    """
    entry, file = asset(name), path(name)
    if not file.is_file():
        raise MissingAsset(_missing(entry, file))
    _check(entry, file, None)
    _check(entry, file, recorded_sha256(file))
    return file


def state(name: str) -> State:
    """Say whether an asset is there, without hashing it.

    The size is compared, and the hash where an earlier check computed it.
    """
    entry, file = asset(name), path(name)
    if not file.is_file():
        return "missing" if entry.urls else "gated"
    try:
        _check(entry, file, _hashes().get(_key(file)))
    except AssetError:
        return "damaged"
    return "present"


def fetch(name: str, progress: Progress | None = None) -> Path:
    """Download an asset, unless the right file is already there.

    A broken download continues where it stopped. The file appears under its name only after its
    size and hash were checked. A damaged file in the assets folder is replaced; one that the
    user's environment variable names is not touched.

    Args:
        name: Of the asset.
        progress: Called with the bytes that have arrived and the total, None if not known.

    Raises:
        UnknownName: No asset has that name.
        MissingAsset: The asset has no URL; the message says how to get it.
        StoppedError: Ctrl-C was pressed; the next call continues.
        AssetError: No URL gave the right file, or the disk is full.
    """
    entry, target = asset(name), path(name)
    if target.is_file():
        try:
            return locate(name)
        except AssetError:
            if os.environ.get(_override(name)):
                raise
    if not entry.urls:
        raise MissingAsset(_missing(entry, target))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AssetError(f"{target.parent} cannot be made: {error.strerror}") from error
    part = part_of(target)
    if entry.size is not None:
        check_space(target.parent, entry.size - (part.stat().st_size if part.is_file() else 0))
    reasons = []
    for url in entry.urls:
        try:
            _fetch_from(url, entry, target, progress)
        except StoppedError:
            raise
        except AssetError as error:
            reasons.append(str(error))
        else:
            return target
    raise AssetError(f"{entry.title} ({name}) could not be fetched: {'; '.join(reasons)}")


def _fetch_from(url: str, entry: Asset, target: Path, progress: Progress | None) -> None:
    part = download(url, target, size=entry.size, checked=entry.pinned, progress=progress)
    digest = sha256_of(part)
    problem = _size_problem(entry, part) or _hash_problem(entry, target, digest)
    if problem:
        what = "a web page" if _is_html(part) else "another file"
        discard(target)
        raise AssetError(f"{url} gave {what}, which was deleted: it {problem}")
    part.replace(target)
    discard(target)
    _remember(target, digest)


def _is_html(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(512).lstrip().lower().startswith((b"<!doctype", b"<html"))


def sha256_of(file: Path) -> str:
    """Hash a file: 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def recorded_sha256(file: Path) -> str:
    """Hash a file, or look the hash up where size and modification time did not change."""
    known = _hashes().get(_key(file))
    if known is None:
        known = sha256_of(file)
        _remember(file, known)
    return known


def _check(entry: Asset, file: Path, digest: str | None) -> None:
    """Refuse a file of the wrong size or, where a digest is given, of the wrong hash."""
    cure = f"delete it and run `tfbench assets get {entry.name}`"
    note = f" ({entry.note})" if entry.note else ""
    problem = _size_problem(entry, file)
    if problem:
        short = entry.size is not None and file.stat().st_size < entry.size
        what = "a truncated copy of" if short else "not"
        raise AssetError(f"{file} is {what} {entry.title}: it {problem}; {cure}{note}")
    problem = _hash_problem(entry, file, digest) if digest else ""
    if problem:
        if not entry.pinned:
            cure = f"delete {_sidecar(file)} if the change is wanted"
        raise AssetError(f"{file} is not {entry.title}: it {problem}; {cure}{note}")


def _size_problem(entry: Asset, file: Path) -> str:
    size = file.stat().st_size
    if entry.size is None or size == entry.size:
        return ""
    return f"has {size:,} bytes where {entry.size:,} were wanted"


def _hash_problem(entry: Asset, file: Path, digest: str) -> str:
    """Compare with the manifest or, for an unpinned asset, with the first hash seen."""
    wanted = entry.sha256 if entry.pinned else _first_seen(file, digest)
    if digest == wanted:
        return ""
    by = "the manifest" if entry.pinned else str(_sidecar(file))
    return f"has the sha256 {digest} where {by} has {wanted}"


def _sidecar(file: Path) -> Path:
    return file.with_name(file.name + ".sha256")


def _first_seen(file: Path, digest: str) -> str:
    """Return the hash in the file's `.sha256` sidecar; write `digest` there if it has none."""
    sidecar = _sidecar(file)
    if sidecar.is_file():
        return (sidecar.read_text("utf-8").split() or ["nothing"])[0]
    # In a folder that we cannot write, nobody can exchange the file unnoticed either.
    with contextlib.suppress(PermissionError):
        sidecar.write_text(f"{digest}  {file.name}\n", "utf-8")
    return digest


def _missing(entry: Asset, file: Path) -> str:
    digest = f"sha256 {entry.sha256}" if entry.pinned else "sha256 not known"
    facts = f"{human_size(entry.size)}, licence: {entry.licence}, {digest}"
    if entry.urls:
        how = (
            f"run `tfbench assets get {entry.name}`, or get it from {' or '.join(entry.urls)} "
            f"and put it at {file}"
        )
    else:
        how = f"get it from {entry.page} by hand and put it at {file}"
    note = f" ({entry.note})" if entry.note else ""
    return f"{entry.title} ({entry.name}; {facts}) is not on this machine: {how}{note}"


def _key(file: Path) -> str:
    stat = file.stat()
    return f"{file.resolve()}|{stat.st_size}|{stat.st_mtime_ns}"


def _hash_cache() -> Path:
    return paths.cache_dir() / "asset-hashes.json"


def _hashes() -> dict[str, str]:
    try:
        known = json.loads(_hash_cache().read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        # What is lost or torn is hashed again.
        return {}
    return known if isinstance(known, dict) else {}


def _remember(file: Path, digest: str) -> None:
    """Add a hash to the cache, dropping those of files that have changed or gone."""
    where = str(file.resolve()) + "|"
    known = {key: value for key, value in _hashes().items() if not key.startswith(where)}
    known[_key(file)] = digest
    target = _hash_cache()
    # A cache that cannot be written costs time at the next start, nothing else.
    with contextlib.suppress(OSError):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", dir=target.parent, suffix=".tmp", delete=False, encoding="utf-8"
        ) as out:
            json.dump(known, out, indent=0)
        Path(out.name).replace(target)
