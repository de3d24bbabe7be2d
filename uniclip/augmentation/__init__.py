"""Image augmentation: parameters, and their application to pixels."""
