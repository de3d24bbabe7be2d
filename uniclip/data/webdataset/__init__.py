"""Image-text pairs in WebDataset shards: tar files as img2dataset writes them."""
