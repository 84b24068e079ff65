"""`python -m lake` is the command `lake`."""

from lake.cli import main

main(prog_name="lake")
