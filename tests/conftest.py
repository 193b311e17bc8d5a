"""What all tests share."""

import os

# Before anything imports torch. The workers of pytest-xdist share the cores: threads that wait for each other
# would make small matrix products a hundred times slower. Programs that tests start inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
