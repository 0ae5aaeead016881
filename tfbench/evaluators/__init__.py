"""Training of the networks that judge: one file for each, around a network of `tfbench.nets`."""

from tfbench.core.registry import lazy_attributes

__getattr__, __dir__ = lazy_attributes("evaluators")
