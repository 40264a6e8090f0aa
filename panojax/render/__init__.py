"""Volume rendering: rays, marching, and what a view leaves unseen."""
