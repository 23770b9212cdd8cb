"""What a study was and found, as values and tables."""
