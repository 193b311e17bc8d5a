"""losa-cache: inspecting, verifying, repairing, merging and converting caches."""
