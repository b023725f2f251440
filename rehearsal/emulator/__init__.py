"""AWS in the rehearsal: MiniStack, and what the rehearsal adds to it."""
