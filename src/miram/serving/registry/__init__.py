"""Models in MLflow's registry: what is registered, when it becomes champion, how it is served."""
