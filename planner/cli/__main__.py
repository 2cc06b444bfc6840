"""`python -m planner.cli` is `sweepwise`."""

from planner.cli import main

main()
