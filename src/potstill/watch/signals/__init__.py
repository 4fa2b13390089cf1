"""What campaigns are found by: each signal an expression over what was taken in."""
