"""The application's server side; `app.py` puts its parts together."""
