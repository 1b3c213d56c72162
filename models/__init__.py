"""The numeric core: models that predict, score and learn, one event at a time."""
