"""Networks that two layers share, each with its checkpoint loader."""
