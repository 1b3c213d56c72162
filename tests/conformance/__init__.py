"""What every entry of the tables CELLS, RULES and OPTIMIZERS must fulfil; a new one is tested as it is added."""
