"""Metrics, one file each.

Every public name of every file can be imported from here; its file is imported at that moment.
"""

from tfbench.core.registry import lazy_attributes

__getattr__, __dir__ = lazy_attributes("metrics")
