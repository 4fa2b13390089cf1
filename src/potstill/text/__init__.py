"""What texts say, however they are written."""
