"""What OpenSSH keeps on a machine, its host keys and moduli, for servers written for Conch."""
