"""Your pages and routes besides rooms: one blueprint per file, each listed here."""

from views import account, home

VIEWS = [home.blueprint, account.blueprint]
