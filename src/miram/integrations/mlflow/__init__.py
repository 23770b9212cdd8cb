"""MLflow records of a run."""
