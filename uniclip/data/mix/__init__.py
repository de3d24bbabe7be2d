"""Image-text pairs and labelled images in one batch."""
