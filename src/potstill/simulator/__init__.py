"""API traffic with known campaigns in it, made up; it knows nothing of what looks for them."""
