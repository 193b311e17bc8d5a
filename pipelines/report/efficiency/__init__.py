"""`losa-report efficiency`: what side networks and methods through the live backbone cost."""
