"""The defaults of options, each once: the command line, the functions of `edgetf` and the code below them use these.

The runtime and the delegate are with their tables, in `device.runner.delegates`; what a device uses unless a job says
otherwise, in `device.settings`.
"""

from __future__ import annotations

CALIBRATION = 200  # samples that ranges are taken from
DEVICE = "local"  # this machine
BLOCKS = 5  # turns of each variant
PATIENCE = 3  # times as many turns at most, if the machine is not quiet
ENERGY_S = 10.0  # seconds of load with the power read
MAX_DROP = 1.0  # points of accuracy, of 100
MAX_METRIC_DROP = 0.01  # in the unit of the user's metric
MIN_AGREEMENT = 0.98  # MLPerf Mobile's gate for quantized classification is 98 % of the float accuracy
GOLDEN = 16  # samples in a bundle, with their outputs
FINE_TUNING_EPOCHS = 5  # for each of quantization-aware training, pruning and clustering
OBJECTIVE = "both"  # of `choose`: latency times bytes
LISTED = 200  # entries of the history
