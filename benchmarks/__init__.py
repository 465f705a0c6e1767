"""Benchmarks of weightswarm beside its peers: same work, same machine, same run. See `python -m benchmarks --help`."""
