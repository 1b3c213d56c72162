"""Real workers as real processes, killed, frozen and stopped."""
