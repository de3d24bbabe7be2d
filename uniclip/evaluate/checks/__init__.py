"""Checks of evaluation data: copies of training images, and label order."""
