"""A finished study at work on new mammograms: predictor, embeddings, registry."""
