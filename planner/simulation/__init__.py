"""A recorded grid played under a strategy, and scored against its truth."""
