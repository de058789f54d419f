"""`python -m faultline`."""

import sys

from faultline._cli import main

sys.exit(main())
