"""The Numenta Anomaly Benchmark: its scorer, and the default forecaster's score on it."""
