"""Networks that this project trains: a record and its weights, in a run's bundle or shipped.

A bundle is a folder with `bundle.json`, the record, and one safetensors file for each part. The
shipped ones lie in `tfbench/nets/weights` as `<stem>.<variant>.json` and `.safetensors`, in half
precision. A record says what made the weights: command, settings, data, seed, versions, and
how good they are on held-out clips.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfbench.core.errors import AssetError, MissingAsset, UnknownName
from tfbench.core.registry import parse_name, registry
from tfbench.nets._checkpoint import fill, read_state
from tfbench.nets.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import nn

__all__ = [
    "WEIGHTS",
    "is_bundle",
    "load_bundle",
    "load_network",
    "load_part",
    "load_shipped",
    "network_file",
    "read_record",
    "shipped_record",
]

WEIGHTS = Path(__file__).resolve().parent / "weights"
"""Where the shipped networks lie."""


def load_network(name: str) -> Frozen[Any]:
    """Load a network by its name, `stem.variant`, or out of the bundle of a training.

    Raises:
        UnknownName: There is no such network or variant.
        MissingAsset: Its file is not on this machine.
        AssetError: Its file is not what it should be.
    """
    if is_bundle(name):
        return load_bundle(Path(name))
    module = network_file(name)
    network: Frozen[Any] = module.load(parse_name(name).variant)
    return network


def is_bundle(name: str) -> bool:
    """Tell whether a name is that of a bundle's folder."""
    return "/" in name


def network_file(name: str) -> Any:
    """Return the module of a network, having checked that it knows the variant.

    Raises:
        UnknownName: There is no such network or variant.
    """
    parsed = parse_name(name)
    module = registry("networks").load(parsed.stem)
    if parsed.variant not in module.VARIANTS:
        known = ", ".join(f"{parsed.stem}.{variant}" for variant in module.VARIANTS)
        raise UnknownName(f"no network '{name}'; there are {known}")
    return module


def load_shipped(
    name: str, build: Callable[[Mapping[str, Any]], nn.Module], folder: Path = WEIGHTS
) -> Frozen[Any]:
    """Load a network that this package ships.

    Args:
        name: `stem.variant`.
        build: Makes the network, with any weights, from the settings in its record.
        folder: Where it lies.

    Raises:
        MissingAsset: This installation lacks the file.
        AssetError: The file is not what its record describes.
    """
    record = shipped_record(name, folder)
    return _load(name, record, "net", folder / f"{name}.safetensors", build)


def shipped_record(name: str, folder: Path = WEIGHTS) -> dict[str, Any]:
    """Read the record of a shipped network.

    Raises:
        MissingAsset: This installation lacks it.
    """
    return read_record(folder / f"{name}.json")


def load_bundle(folder: Path, part: str = "net") -> Frozen[Any]:
    """Load a network out of the bundle of a run.

    Args:
        folder: Holds `bundle.json`.
        part: Name of the network in the bundle.

    Raises:
        MissingAsset: There is no bundle, or it lacks the part.
        AssetError: The weights are not what the record describes, or it is a method's bundle.
    """
    record = read_record(folder / "bundle.json")
    if part not in record["parts"]:
        raise MissingAsset(f"{folder} has no part '{part}'; it has {', '.join(record['parts'])}")
    try:
        module = registry("networks").load(record["parts"][part]["network"])
    except UnknownName as error:
        raise AssetError(f"{folder} is no network's bundle, but one of {record['name']}") from error
    return load_part(folder, record, part, module.build)


def load_part(
    folder: Path, record: Mapping[str, Any], part: str, build: Callable[..., nn.Module]
) -> Frozen[Any]:
    """Load one network of a bundle whose record was read.

    Args:
        folder: Of the bundle.
        record: What its `bundle.json` holds.
        part: Name of the network in the bundle.
        build: Makes the network, with any weights, from the settings in the record.

    Raises:
        MissingAsset: The file is not there.
        AssetError: The weights are not what the record describes.
    """
    path = folder / f"{part}.safetensors"
    return _load(f"{record['name']}.{folder.resolve().parent.name}", record, part, path, build)


def read_record(path: Path) -> dict[str, Any]:
    """Read a record.

    Raises:
        MissingAsset: It is not there.
        AssetError: It is not a record.
    """
    try:
        record = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise MissingAsset(
            f"{path} is not there; a bundle is what `tfbench train` leaves in its run folder"
        ) from error
    except ValueError as error:
        raise AssetError(f"{path} is no record of a network: {error}") from error
    if not isinstance(record, dict) or not {"name", "parts"} <= record.keys():
        raise AssetError(f"{path} is no record of a network: it lacks 'name' or 'parts'")
    return record


def _load(
    name: str,
    record: Mapping[str, Any],
    part: str,
    path: Path,
    build: Callable[[Mapping[str, Any]], nn.Module],
) -> Frozen[Any]:
    if not path.is_file():
        raise MissingAsset(f"the weights of {name} are not at {path}; install the package again")
    wanted = record["parts"][part]
    net = build(wanted["settings"])
    fill(net, read_state(path), f"{path} does not fit the network that its record describes")
    frozen: Frozen[Any] = Frozen(net, name)
    if frozen.sha256 != wanted["sha256"]:
        raise AssetError(
            f"{path} holds weights of sha256 {frozen.sha256[:12]} where its record says "
            f"{wanted['sha256'][:12]}; one of the two was changed: install the package again"
        )
    return frozen
