"""What the compiled twins cost beside numpy: the benchmarks of `python -m benchmarks kernels`."""
