"""Commands on what goes into a study and what it wrote: fetched, read, checked, searched."""
