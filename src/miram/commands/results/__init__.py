"""Commands on results: evaluated, compared, shown."""
