"""The protocol's tests: one file for each module, and one for its document."""
