"""The shell around the numeric core: streams, checkpoints, metrics and the command line."""
