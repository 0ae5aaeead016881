"""Small arrays on disk, found by a name or by their content, and the content of clips.

Files are written under a temporary name and renamed: whole or not there.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load, save

from tfbench.core.assets import recorded_sha256
from tfbench.core.errors import InputError
from tfbench.core.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

    from tfbench.core.types import Clip

__all__ = ["Arrays", "clip_sha256"]


class Arrays:
    """Small tensors on disk.

    Args:
        folder: Where they lie; made at the first write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Store tensors under a name."""
        whole = {key: value.contiguous() for key, value in tensors.items()}
        write_atomically(self._path(name), save(whole))

    def get(self, name: str) -> dict[str, Tensor] | None:
        """Return the tensors of a name; None where there are none."""
        try:
            data = self._path(name).read_bytes()
        except FileNotFoundError:
            return None
        return load(data)

    def keep(self, values: Tensor) -> str:
        """Store one tensor under the sha256 of its content and return that."""
        tensor = values.detach().to("cpu").contiguous()
        head = f"{tensor.dtype} {tuple(tensor.shape)}\n".encode()
        sha = hashlib.sha256(head + tensor.numpy().tobytes()).hexdigest()
        if not self._path(sha).exists():
            self.put(sha, {"values": tensor})
        return sha

    def kept(self, sha: str) -> Tensor:
        """Return a tensor that `keep` stored."""
        tensors = self.get(sha)
        if tensors is None:
            raise InputError(
                f"features {sha} are gone from {self.folder}; remove the rows that need them, "
                "or the whole run folder, and run again"
            )
        return tensors["values"]

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"


def clip_sha256(clip: Clip) -> str:
    """Return the sha256 of a clip: of its file, or of its frames and waveform."""
    if clip.path is not None:
        return recorded_sha256(clip.path)
    digest = hashlib.sha256(f"{clip.video.fps}".encode())
    for frames in clip.video.frames():
        digest.update(frames.contiguous().numpy().tobytes())
    if clip.speech is not None:
        digest.update(clip.speech.waveform.to(torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()
