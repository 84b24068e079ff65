"""What the parts can do, measured side by side in one run against a real server of its own. Not in the wheel; `make bench`."""
