"""Features of crops: learned and hand-crafted."""
