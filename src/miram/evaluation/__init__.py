"""How good an encoder is, with the uncertainty that patients leave."""
