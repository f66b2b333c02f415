"""The application that `sanic app` serves; the only module that names backends and extras."""

from auction import views
from auction.closing import closer
from auction.database import database
from auction.rooms import Auction, Inbox
from gospa import Backends, create_app
from gospa.backends.redis.pubsub import PUBSUB
from gospa.backends.redis.state import STATE
from gospa.backends.redis.storage import STORAGE
from gospa.extras import json_logs, metrics, presence
from rooms import ROOMS
from views import VIEWS

NAME = "auction"  # that of the session's cookie, and of the keys in the store, begins with it
BACKENDS = Backends(state=STATE, pubsub=PUBSUB, storage=STORAGE)

EXTRAS = [
    presence,  # lists of who is in a room
    metrics,  # /health/metrics, for Prometheus
    json_logs,  # GOSPA_LOG_FORMAT=json
]

app = create_app(
    *(NAME, BACKENDS, [*ROOMS, Auction, Inbox]),
    views=[*VIEWS, views.blueprint],
    extras=EXTRAS,
    resources=[database],
    jobs=[closer],
)
