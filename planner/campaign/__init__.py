"""What acts: a study begun, resumed, stopped, audited, verified, imported into; and SweepSampler."""
