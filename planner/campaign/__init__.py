"""Actions: run, resume, stop, audit and verify a study, import into it; and SweepSampler."""
