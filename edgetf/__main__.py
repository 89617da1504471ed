"""`python -m edgetf` is the `edgetf` command."""

import signal

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the command installs its handlers: nothing has started yet

from edgetf.cli import main

if __name__ == "__main__":
    main()
