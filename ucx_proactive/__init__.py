"""The programs: command lines, and the composition of the rooms into processes."""
