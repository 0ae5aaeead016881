"""Protocols: how the clips of a data set are paired into cases; one file each."""
