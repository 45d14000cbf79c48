"""One module per command of ``ucx-proactive``: flags only. ``ucx_proactive.main`` knows their names."""
