"""Timing: variants take turns on a device. Turns, their number, resuming of interrupted runs, statistics of times."""
