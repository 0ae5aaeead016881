"""The one way to train an evaluator or a method."""
