"""Campaigns of extraction in the traffic of a service: found, explained, and never on one sign."""
