"""Versioned state of rooms: codec, draft, and the stores that commit changes."""
