"""AWS's place in the rehearsal: MiniStack with what it lacks, and the fronts that lead real host names to it."""
