"""Encoders, attentions, decoders and the masked autoencoder, on torch and timm."""
