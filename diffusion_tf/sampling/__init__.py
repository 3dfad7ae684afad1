"""Samples: drawn in shards, kept in files, shown in pictures."""
