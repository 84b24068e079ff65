"""The live page: a view of the running demo with its knobs, for one's own browser."""
