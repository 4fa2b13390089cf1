"""From where on figures are told apart: smaller ones are how sums were rounded."""

# Nats a token. Stored states in half precision put a model about this far from itself.
SMALLEST_KL = 1e-5
