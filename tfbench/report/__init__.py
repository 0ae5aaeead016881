"""Pictures and videos that show what methods made, beside each other."""
