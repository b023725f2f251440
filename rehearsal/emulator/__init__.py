"""AWS in the rehearsal: MiniStack behind one module, and what changes or completes its services."""
