"""The counterpart of the AWS console's pipeline view: one page in a browser on this machine.

It shows the pipeline's stages, the build's log, the pods on their nodes and the app's answer changing with a push.
It only reads, and only while somebody looks: nothing is asked of AWS, the cluster or the app otherwise.

- ``snapshot``: what one moment looks like, as typed dictionaries
- ``pipeline``, ``cluster``, ``answers``: where each part of it is read
- ``watch``: reads all of them once a second for all who look
- ``app``: the page, ``/api/snapshot`` and the stream ``/api/events``
- ``__main__``: serves it on loopback, as the program that ``program`` describes
- ``screenshot``: the page as a picture
"""

from __future__ import annotations

import sys

from rehearsal.sandbox.programs import Program


def program() -> Program:
    """Return the page as a program of the machine."""
    return Program("console", [sys.executable, "-m", "rehearsal.console"])
