"""Telling people about tickets: customers by mail and webhook, our own by mail.

Written with the event it tells (``letters.py`` decides, casebook stores), sent later (``outbox.py``).
"""
