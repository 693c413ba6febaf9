"""Benchmarks: each module has `measure(arguments) -> dict`, and is run by hand or by `make bench`."""
