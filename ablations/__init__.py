"""Ablations: how they are declared, which runs they consist of, and the audit of their arms."""
