"""The commands: their arguments and what they say to a terminal, and nothing else."""
