"""`losa-bench video` and `losa-bench video-plan`: side networks and caches of videos of large backbones."""
