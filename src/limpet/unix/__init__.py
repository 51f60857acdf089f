"""Logins as users of the Unix system that the server runs on."""
