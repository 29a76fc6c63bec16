"""`python -m effsearch`."""

from effsearch.cli import main

main()
