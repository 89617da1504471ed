"""The files that samples are read from, by the ends of their names; `load` calls the reader of each."""

from __future__ import annotations

NPZ = ".npz"
RECORDS = (".tfrecord", ".tfrecord.gz")
IMAGES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".webp")  # in a folder
SAMPLE_FILES = (NPZ, *RECORDS)
