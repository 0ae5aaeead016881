"""Rendered 3D heads that speak synthesised sentences, with exact truth of all that is seen.

Heads, voices, sentences, emotions, light and places are drawn from seeds, so that lips, words,
phones, landmarks, pose and 3DMM coefficients are known exactly and nobody is filmed. The clips are
made on this machine at first use, in parallel, into the cache folder, and are the same everywhere.
The data card is docs/datasets/puppets.md.
"""

from tfbench.datasets.puppets.dataset import Puppets, PuppetsConfig

__all__ = ["Puppets", "PuppetsConfig"]
