"""What differs between two JSON values, so that a recording has each line of a log and each answer once.

A change is one of three; ``changed`` in player.js applies it:

- ``[value]``: the new value
- ``[dropped, added]``: a list that lost ``dropped`` elements at its start and got those of ``added`` at its end
- ``{key: change}``: the elements of an object, or of a list by index, that changed
"""

from __future__ import annotations

from typing import Any

Change = list[Any] | dict[str, Any]


def between(old: Any, new: Any) -> Change:
    """Return the change from ``old`` to ``new``; it is empty if they are equal."""
    if isinstance(old, dict) and isinstance(new, dict) and old.keys() == new.keys():
        return {key: between(old[key], new[key]) for key in new if old[key] != new[key]}
    if isinstance(old, list) and isinstance(new, list) and old and new:
        for dropped in range(len(old)):
            if old[dropped:] == new[: len(old) - dropped]:
                return [dropped, new[len(old) - dropped :]]
        if len(old) == len(new):
            return {str(at): between(old[at], new[at]) for at in range(len(new)) if old[at] != new[at]}
    return [new]
