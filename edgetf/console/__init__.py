"""Console output: progress on standard error; lines and tables on standard output."""
