"""The lake: every event in open files, and a database that can be rebuilt from them. Of ours it imports the loader alone."""
