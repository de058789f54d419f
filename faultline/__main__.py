"""`python -m faultline`."""

import sys

from faultline._front.command import main

sys.exit(main())
