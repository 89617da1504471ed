"""Measurements compared with the reference: figures with intervals, verdicts, and the choice of a variant."""
