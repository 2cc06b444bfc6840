"""Other tools' results as measurements of the ledger: a reader for each format, and what makes runs of their rows."""
