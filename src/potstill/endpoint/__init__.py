"""A model behind an OpenAI-compatible HTTP server: asked, paced, paid for."""
