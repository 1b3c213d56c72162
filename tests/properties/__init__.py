"""What holds for any input: decoding, replay and the composition of batches, over generated streams."""
