"""A distillation run as a page, and its headline as a paragraph."""
