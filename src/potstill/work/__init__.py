"""What stages are given and give back."""
