"""The audit: checks that each arm does what it declares, and measures what it costs."""
