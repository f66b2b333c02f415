"""Auctions: the database decides which bids count, and every browser shows it."""
