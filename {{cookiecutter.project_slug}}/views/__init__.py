"""Your pages and routes besides rooms: one blueprint per file, each listed here."""

from views import account, demo, home

VIEWS = [home.blueprint, account.blueprint, demo.blueprint]
