"""Training of the network that finds heads from all sides and their pose, see `panojax.photo.head_pose`."""
