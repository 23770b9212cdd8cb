"""What is cut around each lesion, and the store it is kept in."""
