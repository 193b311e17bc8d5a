"""What needs both stages, and the commands."""
