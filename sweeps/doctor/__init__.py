"""Diagnostics: what would go wrong with a sweep, found before it starts."""
