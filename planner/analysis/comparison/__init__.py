"""Two studies of one grid: ratios, which of them chance cannot explain, and conditions on them."""
