"""`python -m router`: the same as the command `farebox`."""

from router.cli import main

main()
