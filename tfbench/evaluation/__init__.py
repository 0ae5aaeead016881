"""From cases to a leaderboard: pairing, views, rows, aggregates and their tables."""
