"""The room's named queries, loaded once."""

from storage.sql import Queries

Q = Queries.load("oncall")
