"""Training: crops on the device, deterministic augmentation, schedule, loop."""
