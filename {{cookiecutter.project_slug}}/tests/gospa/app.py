"""An application for tests that start whole servers, on the backends that app.py chose."""

from app import BACKENDS
from gospa.app import create_app
from tests.gospa.rooms import ROOMS
from tests.gospa.views import blueprint

app = create_app("tests", BACKENDS, ROOMS, views=[blueprint])
