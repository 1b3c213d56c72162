"""What can be seen of a running worker: metrics, health, and the live page."""
