"""Where state is kept: implementations of the checkpoint store."""
