"""Multi-scale masked autoencoders for mammography."""
