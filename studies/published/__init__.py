"""Published tables re-run as studies."""
