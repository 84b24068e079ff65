"""The listener: follows what the reducer commits and posts every toggle to a webhook. It imports neither loader nor demo."""
