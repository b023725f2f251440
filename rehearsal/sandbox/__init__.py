"""The machine that a rehearsal runs on: namespaces, networks, control groups, and the programs that live in them."""
