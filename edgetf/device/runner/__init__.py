"""The runner: the code that runs ON the device and needs nothing but Python 3.9+, numpy and a TFLite interpreter.

Comes in: a Job (`job.json`: a variant, samples as `.npy` files, a timing plan). Goes out: a folder with
`measurement.json` (every latency, memory, the state of the machine) and the outputs for all samples as `.npy` files.
It imports nothing of edgetf, so that it can be sent to a bare device as one file: see `device.zipapp`.
"""
