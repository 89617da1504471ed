"""Damaged input for every reader: anything but a result or a clear error is a fault."""
