"""Layers and networks that own parameters and know nothing of heads."""
