"""The processes of an application: how workers start, are watched and replaced, and stop."""
