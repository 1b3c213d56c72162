"""What each memory and each rule can learn: the tasks of `python -m benchmarks tasks`."""
