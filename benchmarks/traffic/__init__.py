"""Commands around potstill.simulator: make a world, measure it; README.md says what it models."""
