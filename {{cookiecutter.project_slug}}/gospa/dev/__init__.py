"""Programs for the developers of an application, which are not in the container image."""
