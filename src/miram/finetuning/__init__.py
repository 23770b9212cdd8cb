"""A pretrained encoder and a linear head, trained on labels and evaluated."""
