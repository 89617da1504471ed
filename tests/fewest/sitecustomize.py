"""Python imports this at its start where this folder is on its path: benchmarks take the fewest turns.

For commands that are run for what they print and write, not for their times. A machine that is busy with other tests
makes each of their benchmarks three times as long.
"""

import edgetf.defaults

edgetf.defaults.BLOCKS = 2
edgetf.defaults.PATIENCE = 1
