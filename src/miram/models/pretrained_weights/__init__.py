"""Public weights as a starting point."""
