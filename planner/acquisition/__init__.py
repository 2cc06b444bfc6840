"""What to measure next: an initial design, then batches that reduce most variance for each accelerator-second."""
