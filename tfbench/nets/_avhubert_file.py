"""Reading fairseq's checkpoints without fairseq and without running what they name.

Such a file (facebookresearch/fairseq, `trainer.py`, `Trainer.state_dict`) holds beside the
parameters the configuration of the run and the state of its task: for AV-HuBERT the dictionary of
subwords, and the tokeniser with its SentencePiece model as bytes. These are objects of fairseq,
omegaconf and sentencepiece. torch lists the classes that a file names; every one that is not
torch's own is replaced by an inert stand-in that only keeps what was stored, and then torch's
restricted reader (`weights_only=True`) reads the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tfbench.core.errors import AssetError
from tfbench.nets._subwords import read_sentencepiece

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FairseqFile", "read_fairseq"]


@dataclass(frozen=True)
class FairseqFile:
    """What a checkpoint of fairseq holds.

    Attributes:
        path: For messages.
        model: name -> tensor, on the CPU.
        settings: The run's configuration, plain dicts, lists and values; {} where there is none.
        task: The state of the task: name -> plain value.
    """

    path: Path
    model: dict[str, Tensor]
    settings: dict[str, Any]
    task: dict[str, Any]

    def subwords(self) -> tuple[str, ...]:
        """Return the symbols of the decoder's dictionary in the order of their numbers.

        Raises:
            AssetError: The file has no dictionary of what is written.
        """
        found = self.task.get("target_dictionary")
        symbols = found.get("symbols") if isinstance(found, dict) else None
        if not isinstance(symbols, list) or not all(isinstance(sign, str) for sign in symbols):
            raise AssetError(
                f"{self.path} lacks task_state.target_dictionary, the subwords that its decoder "
                "writes; wanted a checkpoint that fairseq's trainer saved in fine-tuning"
            )
        return tuple(symbols)

    def scores(self) -> dict[str, float] | None:
        """Return the scores of subwords that the tokeniser's SentencePiece model holds.

        Returns:
            Subword -> score; None where the file has no tokeniser.

        Raises:
            AssetError: The tokeniser's bytes are no model of SentencePiece.
        """
        found = self.task.get("s2s_tokenizer")
        model = found.get("sp") if isinstance(found, dict) else None
        return dict(read_sentencepiece(model)) if isinstance(model, bytes) else None


def read_fairseq(path: Path) -> FairseqFile:
    """Read a checkpoint.

    Args:
        path: What fairseq saved with torch 1.6 or later, whose files are zip archives.

    Raises:
        AssetError: The file cannot be read or holds no parameters.
    """
    try:
        named = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
        with torch.serialization.safe_globals([_stand_in(name) for name in named]):
            # Mapped into memory, since the optimiser's state is twice as long and is not read.
            found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # a cut-off file raises whatever its last bytes happen to mean
        raise AssetError(f"{path} is no readable checkpoint (cut off?): {error}") from error
    model = found.get("model") if isinstance(found, dict) else None
    if not isinstance(model, dict) or not all(isinstance(v, Tensor) for v in model.values()):
        raise AssetError(f"{path} is no checkpoint of fairseq: it lacks parameters under 'model'")
    settings = _plain(found.get("cfg") or found.get("args") or {})
    task = _plain(found.get("task_state") or {})
    if not isinstance(settings, dict) or not isinstance(task, dict):
        raise AssetError(f"{path} is no checkpoint of fairseq: its 'cfg' or 'task_state' is no map")
    return FairseqFile(path, dict(model), settings, task)


class _StandIn:
    """In the place of an object of a foreign class; keeps what was stored and can do nothing."""

    arguments: tuple[Any, ...]
    state: Any

    def __new__(cls, *arguments: Any) -> _StandIn:
        made = super().__new__(cls)
        made.arguments, made.state = arguments, None
        return made

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _stand_in(name: str) -> type[_StandIn]:
    """Make a stand-in that torch takes for the class of a name such as "a.b.C"."""
    module, _, last = name.rpartition(".")
    return type(last, (_StandIn,), {"__module__": module, "__qualname__": last})


def _plain(value: Any) -> Any:
    """Turn stand-ins into what they hold.

    omegaconf keeps a container's entries in `_content` and a value in `_val`; an enumeration is
    stored as its class called with a value; other objects become a dict of their fields.
    """
    if isinstance(value, _StandIn):
        state = value.state
        if isinstance(state, dict):
            return _plain(state.get("_content", state.get("_val", state)))
        return _plain(value.arguments[0] if state is None and value.arguments else state)
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value
