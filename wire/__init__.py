"""What crosses the network between agent and collector, and the catalogue of metrics.

The only package that both sides share; it imports nothing of ours.
"""
