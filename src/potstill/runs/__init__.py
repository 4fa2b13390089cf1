"""The order of things: what a run does, stage after stage."""
