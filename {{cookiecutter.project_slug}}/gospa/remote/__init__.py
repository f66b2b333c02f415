"""Parts of the Python client (`gospa.client`): its rooms, their state, and what is sent again."""
