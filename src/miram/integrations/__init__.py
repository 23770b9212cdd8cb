"""Where the library meets Kedro and MLflow."""
