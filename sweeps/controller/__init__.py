"""The controller: what is still to be run, and the loop that has it run."""
