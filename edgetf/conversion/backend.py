"""The loader of TensorFlow, re-exported from the ground floor for the modules of this package."""

from edgetf.backend import load_tensorflow

__all__ = ["load_tensorflow"]
