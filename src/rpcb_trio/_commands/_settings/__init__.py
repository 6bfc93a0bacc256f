"""The settings of all commands: where they are declared, and how their sources are merged."""
