"""Training of the generator and its discriminator."""
