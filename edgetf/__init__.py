"""edgetf: Keras models to TFLite variants, measured on the device and proven against TensorFlow.

Importing this package loads neither TensorFlow nor numpy: each command imports its part when it runs.
"""

__version__ = "0.1.0"
