"""Tokenisation and text augmentation."""
