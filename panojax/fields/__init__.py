"""3D representations: layout, lookups, what a view shows, blending."""
