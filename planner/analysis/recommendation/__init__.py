"""Which configuration to run: the best points that meet every condition with a stated probability."""
