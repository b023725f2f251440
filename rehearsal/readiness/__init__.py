"""Takes a learner's own app through the rehearsal, and reports how ready it is for the pipeline."""
