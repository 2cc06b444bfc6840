"""The record: an Optuna study in RDB storage, its claims and fingerprint, and the observations read from it."""
