"""Results as tables and lines, as the commands print them."""
