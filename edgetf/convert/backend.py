"""TensorFlow for what converts: the ground floor's loader, under the name by which this part knows it."""

from edgetf.backend import load_tensorflow

__all__ = ["load_tensorflow"]
