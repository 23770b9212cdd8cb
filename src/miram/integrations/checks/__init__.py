"""What is checked before any long work starts."""
