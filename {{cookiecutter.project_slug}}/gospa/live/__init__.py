"""Rooms over WebSockets: protocol, connections, replicas and the hub of one worker."""
