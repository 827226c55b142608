"""Run the command line: ``python -m policy_router.cli``."""

import sys

from policy_router.cli import main

sys.exit(main())
