"""What every room of the format may use, and knows none of them."""
