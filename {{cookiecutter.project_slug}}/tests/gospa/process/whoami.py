"""The application with a page that tells what it knows of its visitor."""

from sanic import HTTPResponse, Request
from sanic.response import json

import app as chosen
from gospa.app import create_app
from rooms import ROOMS

app = create_app("whoami", chosen.BACKENDS, ROOMS)


@app.route("/whoami", methods=["GET", "POST"])
async def whoami(request: Request) -> HTTPResponse:
    return json({"address": request.remote_addr, "scheme": request.scheme, "host": request.host})
