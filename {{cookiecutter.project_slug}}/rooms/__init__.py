"""Your rooms: one file per kind, each listed here."""

from rooms.board import Board
from rooms.me import Me

ROOMS = [Board, Me]
