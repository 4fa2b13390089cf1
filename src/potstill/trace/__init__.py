"""Was a model distilled from one's own: what is asked of it, and what follows from its answers."""
