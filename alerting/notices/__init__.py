"""Notices: alerts that page nobody, told by mail and signed webhook."""
