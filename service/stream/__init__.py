"""From records to learned events and published predictions."""
