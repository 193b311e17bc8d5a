"""What losa-bench measures."""
