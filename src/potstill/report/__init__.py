"""A run as one self-contained HTML page, and its headline as a paragraph."""
