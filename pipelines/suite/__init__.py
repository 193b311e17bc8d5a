"""`losa-vtab1k` and `losa-fgvc`: the table of a benchmark of several tasks, by one command."""
