"""Proof that metrics measure what they say: graded, known changes and each metric's response."""
