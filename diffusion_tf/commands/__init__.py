"""The commands, a module each, which defines its flags when it is imported."""
