"""`python -m edgetf` is the `edgetf` command."""

from edgetf.cli import main

if __name__ == "__main__":
    main()
