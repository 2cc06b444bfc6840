"""Other tools' results: an importer for each format, and the step from their rows to runs of a study."""
