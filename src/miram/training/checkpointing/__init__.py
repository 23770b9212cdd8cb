"""The state of a training on disk: kept, selected, resumed."""
