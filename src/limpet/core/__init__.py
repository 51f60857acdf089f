"""The protocol's machines and file formats, without I/O: no clock, no socket, no Twisted."""
