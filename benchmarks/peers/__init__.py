"""Who is compared in the benchmarks: one thin module a contender, and what they share."""
