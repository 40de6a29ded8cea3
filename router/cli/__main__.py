"""`python -m router.cli`: the command line without its script, for processes that we start ourselves."""

from router.cli import main

main(prog_name="costrouter")
