"""`losa-bench accuracy` and `losa-bench ablations`, over several data sets, and `losa-bench draw-scenes`."""
