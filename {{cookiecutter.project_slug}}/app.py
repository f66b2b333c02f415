"""The application that `sanic app` serves; the only module that knows which backends are used."""

from gospa import Backends, create_app
from gospa.backends.redis import pubsub as pubsub_backend
from gospa.backends.redis import state as state_backend
from gospa.backends.redis import storage as session_backend
from rooms import ROOMS
from views import VIEWS

BACKENDS = Backends(state=state_backend, pubsub=pubsub_backend, sessions=session_backend)

app = create_app("app", BACKENDS, ROOMS, views=VIEWS)
