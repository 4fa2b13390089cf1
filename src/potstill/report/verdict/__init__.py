"""A verdict as a page, and as a notice for people who read no statistics."""
