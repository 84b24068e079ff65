"""The whole pipeline under a seeded schedule of faults, and an account of what came of it. Not in the wheel."""
