"""How many samples of a step fit into memory at once."""
