"""Costs: audits and probes of the arms, estimates, and the GPU-hour limit."""
