"""What `limpet serve` is made of: settings, limits, keys, listening and the running server."""
