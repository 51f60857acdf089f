"""Bytes to values and back, as RFC 4251 section 5 writes them; standard library only."""
