"""A model behind a server: asked for answers, or given text to read."""
