"""A campaign as a case: what is known of it, what follows, and what has to be checked."""
