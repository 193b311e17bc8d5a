"""losa-predict: what trained side networks see in images."""
