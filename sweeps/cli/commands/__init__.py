"""The commands of the command line, one module each; `sweeps.cli.main` lists them.

A module defines `add_arguments(parser)`, which adds the command's names and flags to an argparse
parser, and `run(arguments)`, which executes it and returns the exit status. `arguments.overrides`
holds the `key=value` words, `arguments.names` the others, if the command takes any.
"""
