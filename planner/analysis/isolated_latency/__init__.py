"""The latency of a request served alone, by engine configuration, and what a black box adds to it."""
