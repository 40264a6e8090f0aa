"""What a person sees in a terminal while something works."""
