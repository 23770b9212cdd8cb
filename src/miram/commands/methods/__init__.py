"""Commands on methods: what they cost, how they fit into memory, where a step failed."""
