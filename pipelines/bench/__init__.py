"""The measurements of losa-bench, one folder or file for each command."""
