"""Figures, the leaderboard and the report page."""
