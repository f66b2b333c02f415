"""The application that `sanic app` serves; the only module that knows which backends are used."""

from rooms import ROOMS
from server.factory import Backends, create_app
from server.pubsub import redis as pubsub
from server.sessions import redis as sessions
from server.state import redis as state
from views import VIEWS

BACKENDS = Backends(state=state, pubsub=pubsub, sessions=sessions)

app = create_app("app", BACKENDS, ROOMS, views=VIEWS)
