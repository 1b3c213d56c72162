"""The numeric core whole and part by part; cells, rules and optimizers have tests of their own in tests/conformance."""
