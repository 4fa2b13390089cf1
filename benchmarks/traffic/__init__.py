"""A simulator of API traffic with known campaigns in it; README.md says what it models."""
