"""Benchmarks: each module has `measure(arguments) -> dict`, and is run by hand or by `make bench`.

A result says where it was measured (`benchmark.machine.describe`), what was found on each of its recordings, and how a
table shows it: "rows" of four texts, which are the recording, what was measured, the figure, and more about it.
"""
