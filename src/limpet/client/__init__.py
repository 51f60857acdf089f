"""The client: connecting as a person's configuration says, and logging in (ssh_config(5))."""
