"""What a request takes that is served alone, by engine configuration, and what a black box adds to it."""
