"""`python -m orchestrator.embedded` is what `manage.py up` becomes: a small process without Django."""

from __future__ import annotations

import sys

from orchestrator.embedded.up import main

sys.exit(main())
