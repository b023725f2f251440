"""Console: one page in a browser on this machine, the counterpart of the AWS console's pipeline view.

- ``snapshot``: the state of everything on the page, as typed dictionaries
- ``app``: serves the page, ``/api/snapshot`` and the stream ``/api/events``
- ``watch``: reads the state once a second while the page is open
- ``pipeline``, ``cluster``, ``answers``: read AWS, the Kubernetes API and the app
- ``__main__``: serves all of it on loopback, as the program that ``program`` describes
- ``screenshot``: saves the page as a picture

The page shows the pipeline's stages, the build's log, the pods on their nodes, and the app's answer as it changes after
a push. It only reads, and only while a browser has it open. It is not a stand-in for an API, so its modules have other
names than those of the services next to it.
"""

from __future__ import annotations

import sys

from rehearsal.sandbox.programs import Program


def program() -> Program:
    """Return the program that serves the page."""
    return Program("console", [sys.executable, "-m", "rehearsal.console"])
