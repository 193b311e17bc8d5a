"""losa-export: trained side networks for other programs, as a file of a model, a folder, or on the hub."""
