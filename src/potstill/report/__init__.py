"""Results as self-contained HTML pages: the frame that all share, and a folder a kind of page."""
