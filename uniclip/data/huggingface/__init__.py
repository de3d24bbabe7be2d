"""Image-text pairs in Arrow or Parquet files, as the library `datasets` writes them."""
