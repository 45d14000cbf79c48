"""Tickets under contract: who is a customer of what, and what follows when something breaks.

Start reading at ``desk.py`` (alerts become tickets) and ``lifecycle.py`` (what may happen to a ticket).
"""
