"""Replay: one rehearsal in one HTML file, which opens without a server: ``scripts/rehearse.sh --record FILE``.

- ``recorder``: keeps what the console page shows during the tutorial's steps
- ``changes``: a snapshot as what differs from the one before it
- ``search``: secrets that must not be in a file that is published
- ``page``: the console page with a recording and the player in place of the server
- ``player.html``, ``player.js``, ``player.css``: the controls; ``../console/static/console.js`` draws
- ``__main__``: writes the page around an existing recording again, after a change of the console page or the player
"""
