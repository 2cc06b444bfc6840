"""Answers as text, tables, figures, pages and files; nothing is computed here."""
