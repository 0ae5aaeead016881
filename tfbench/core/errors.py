"""Every error that tfbench raises on purpose.

A message says what came, what was wanted and what to do about it. Only the command line
catches these (one line, exit code 1); a library user sees the exception itself.
"""

__all__ = [
    "AssetError",
    "ConfigError",
    "GenerationError",
    "InputError",
    "MissingAsset",
    "StorageError",
    "TfbenchError",
    "TrainingError",
    "UnknownName",
    "Unscorable",
]


class TfbenchError(Exception):
    """Base of all errors that tfbench raises on purpose."""


class UnknownName(TfbenchError, LookupError):
    """A method, metric, data set or other plugin was asked for by a name that nothing has."""


class ConfigError(TfbenchError, ValueError):
    """A config file or a setting on the command line is wrong."""


class InputError(TfbenchError, ValueError):
    """A video, audio track, image, folder or list cannot be used as it is."""


class AssetError(TfbenchError):
    """An asset's file is there but is not what the manifest describes, or a download failed."""


class MissingAsset(AssetError):
    """A network's file is not on this machine."""


class StorageError(TfbenchError):
    """A disk is full or a folder cannot be written; the run stops and can be continued."""


class GenerationError(TfbenchError):
    """A generator could not make its video."""


class TrainingError(TfbenchError):
    """A training cannot go on, or a run cannot be continued."""


class Unscorable(TfbenchError):
    """A clip cannot be scored by one metric; the message is the reason that its row carries."""
