"""`losa-evaluate`: trained side networks judged on images with labels."""
