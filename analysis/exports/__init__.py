"""Exports of a sweep to other tools; each module is one target, `source` is what all of them read.

An export may be made again at any time, also while cells run: what is there already is left as it
is, what is incomplete is completed, and what has changed is replaced. Nothing is doubled.
"""
