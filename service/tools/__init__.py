"""What a person runs at the command line beside the worker."""
