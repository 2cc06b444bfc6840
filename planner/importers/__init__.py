"""Other tools' results: an importer for each format, and what makes runs of a study of their rows."""
