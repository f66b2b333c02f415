"""What the developers of an application run; none of it is in the image."""
