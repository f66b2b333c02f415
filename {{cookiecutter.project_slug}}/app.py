"""The application that `sanic app` serves; the only module that names backends and extras."""

from gospa import Backends, create_app
from gospa.extras import json_logs, metrics, presence
from rooms import ROOMS
from views import VIEWS

# By themselves, so that a change of backends does not touch your imports.
from gospa.backends.redis.pubsub import PUBSUB
from gospa.backends.redis.state import STATE
from gospa.backends.redis.storage import STORAGE

# The application's name. The name of the session's cookie and the keys in a store begin with it.
NAME = "app"
BACKENDS = Backends(state=STATE, pubsub=PUBSUB, storage=STORAGE)

EXTRAS = [
    presence,  # lists of who is in a room
    metrics,  # /health/metrics, for Prometheus
    json_logs,  # GOSPA_LOG_FORMAT=json
]

app = create_app(NAME, BACKENDS, ROOMS, views=VIEWS, extras=EXTRAS)
