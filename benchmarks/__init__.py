"""Measures delivery and application, side by side with their floors; see README.md."""
