"""The command `miram`: what is done outside of pipelines."""
