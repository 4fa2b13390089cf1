"""Cases as pages: the list of a run, one case, and what an account may be told of it."""
