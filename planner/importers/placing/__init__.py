"""Rows of any format → runs of a study: points found, metrics read, files checked against themselves."""
