"""Algorithms and keys; the layers above (`wire`), `cryptography` and `bcrypt` only."""
