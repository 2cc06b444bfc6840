"""Meta-metrics: accuracy against truth, accuracy estimated without truth, and gains over the plain sweep."""
