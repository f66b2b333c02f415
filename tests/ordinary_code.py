"""Ordinary Sanic code, with mistakes, which a project's checks are to find without the rest."""

CODE = r'''import asyncio
import json
import os
import random
from datetime import datetime, timedelta

import httpx
from sanic import Blueprint, Request, response
from sanic.exceptions import BadRequest, NotFound

from gospa import rooms_of, session_of
from rooms.board import Board

bp = Blueprint('orders')
ORDERS = {}
PENDING = []
RETRIES = 3


class Order:
    def __init__(self, id, items, paid=False):
        self.id = id
        self.items = items
        self.paid = paid
        self.created = datetime.now()

    def total(self, prices={}):
        # TODO: discounts
        return sum(prices.get(i, 0) for i in self.items)


def find(id):
    """Look up an order."""
    if id in ORDERS:
        return ORDERS[id]
    else:
        raise NotFound('no such order')


@bp.post('/orders')
async def create(request: Request):
    data = request.json
    if not data or 'items' not in data:
        raise BadRequest('items are missing')
    order = Order(str(random.randint(1, 10**9)), data['items'])
    ORDERS[order.id] = order
    session = session_of(request)
    order.by = session.user
    asyncio.create_task(notify(order))
    return response.json({'id': order.id}, status=201)


@bp.post('/orders/<id>/pay')
async def pay(request: Request, id: str):
    order = find(id)
    try:
        async with httpx.AsyncClient() as client:
            r = await client.post('https://pay.example.org', json={'amount': order.total()})
    except:
        return response.json({'error': 'payment failed'}, status=502)
    if r.status_code == 200:
        order.payed = True
        rooms_of(request).call(Board.add, 'board/lobby', amount='1')
    return response.json({'paid': order.paid})


async def notify(order):
    for attempt in range(RETRIES):
        print(f'notify {order.id} {attempt}')
        with open('/tmp/orders.log', 'a') as f:
            f.write(json.dumps({'id': order.id}) + '\n')
        if order.paid == None:
            await asyncio.sleep(1)
'''
