"""losa-bench live: accuracy and seconds of training through the live backbone, beside side networks."""
