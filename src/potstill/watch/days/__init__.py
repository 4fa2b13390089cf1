"""Days: candidates that are chosen on one day, and tested on later ones, as days come."""
