"""Hydra configuration files. A package only so that Hydra finds them as pkg://losa.conf."""
