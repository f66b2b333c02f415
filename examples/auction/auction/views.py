"""New auctions, and the webhook of a payment service."""

import hashlib
import hmac
import os
import time
from typing import Annotated

import msgspec
from msgspec import Meta
from sanic import Blueprint, HTTPResponse, Request
from sanic.response import empty, redirect, text

from auction.database import database_of
from auction.rooms import Auction
from gospa import rooms_of, session_of

blueprint = Blueprint("auction")


class Offer(msgspec.Struct):
    name: Annotated[str, Meta(pattern=r"\A[a-z0-9-]{1,40}\Z")]
    item: Annotated[str, Meta(min_length=1, max_length=200)]
    minutes: Annotated[float, Meta(gt=0, le=1440)]


class Payment(msgspec.Struct):
    id: Annotated[str, Meta(min_length=1)]
    auction: str
    amount: int


@blueprint.post("/auctions")
async def offer(request: Request) -> HTTPResponse:
    if (await session_of(request)).user is None:
        return text("log in first\n", 403)
    try:
        form = {name: values[0] for name, values in (request.form or {}).items()}
        new = msgspec.convert(form, Offer, strict=False)
    except msgspec.ValidationError as error:
        return text(f"{error}\n", 422)
    closes_at = time.time() + new.minutes * 60
    if not await database_of(request.app).offer(new.name, new.item, closes_at):
        return text("there is an auction of this name\n", 409)
    return redirect(f"/#{new.name}", status=303)


@blueprint.post("/payments")
async def receive(request: Request) -> HTTPResponse:
    """A payment. The service repeats its request until it is answered with success."""
    if not is_signed(request):
        return text("the signature is wrong\n", 401)
    try:
        payment = msgspec.json.decode(request.body, type=Payment)
    except msgspec.MsgspecError as error:
        return text(f"{error}\n", 422)
    if not await database_of(request.app).pay(payment.auction, payment.amount):
        return text("nobody owes this\n", 422)
    room = Auction.named(name=payment.auction)
    await rooms_of(request).once(payment.id).call(Auction.mark_paid, room)
    return empty()


def is_signed(request: Request) -> bool:
    """Whether the signature is right. Without a secret, none is."""
    secret = os.environ.get("PAYMENT_SECRET", "").encode()
    expected = hmac.new(secret, request.body, hashlib.sha256).hexdigest().encode()
    given = request.headers.get("X-Signature", "").encode(errors="replace")
    return bool(secret) and hmac.compare_digest(expected, given)
