"""Commands that give an encoder new images, or give it to other programs."""
