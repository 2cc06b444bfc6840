"""The record: an Optuna study in RDB storage, its claims and fingerprint, and what was observed, read back."""
