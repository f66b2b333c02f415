"""HTTP requests: headers, CSRF, static files, health."""
