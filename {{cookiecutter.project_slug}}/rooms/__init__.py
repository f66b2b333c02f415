"""Your rooms: one file per kind, each listed here."""

from rooms.board import Board
from rooms.lounge import Lounge
from rooms.me import Me

ROOMS = [Board, Lounge, Me]
