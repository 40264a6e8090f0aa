"""PanoHead and EG3D: configuration, networks, from latents to pictures."""
