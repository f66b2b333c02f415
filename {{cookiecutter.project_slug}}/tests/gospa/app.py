"""An application for tests that start whole servers, with the backends and extras of app.py."""

from app import BACKENDS, EXTRAS
from gospa.app import create_app
from tests.gospa.raw_stream import STREAMS
from tests.gospa.rooms import ROOMS
from tests.gospa.views import blueprint

app = create_app("tests", BACKENDS, ROOMS, views=[blueprint], extras=[*EXTRAS, STREAMS])
