"""The command line: one file for each command; heavy modules are imported inside functions."""
