"""The history of benchmarks, and exports to other tools."""
