"""Practice: something breaks in a running rehearsal, and the learner finds it and fixes it with the real tools.

- ``exercise``: reads the exercises, one file each in ``exercises/``
- ``facts``: what the walk has built, as facts that can be compared
- ``restore``: puts back what the facts were made of
- ``session``: which exercise is in progress, and which are solved
- ``practice``: begin, hint, check, solution, reset
- ``commands``: the command line

An exercise says how to break something, what a colleague would say about it, hints, and a solution. It has no check of its
own: it is solved when the page answers, the last commit is released, and all facts are what they were before.
"""
