"""What a step trains on: order, augmentation, batches, prefetch."""
