"""Two studies of one grid: ratios, their significance, and conditions on them."""
