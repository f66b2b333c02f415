"""Parts of the Python client (`gospa.client`): its rooms, their state, and repeated requests."""
