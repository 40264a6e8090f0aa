"""Training of the encoders and their critic."""
