"""Merging: the runs and sweeps of several stores in one."""
