"""Test cases of the shipped rules, as data: see alerting/ruletest.py."""
