"""Image augmentation: sampled parameters and their application to pixels."""
