"""Collection: reading a sweep's runs from the store."""
