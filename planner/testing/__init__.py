"""Conformance suites that check a plug-in against the contract of its protocol."""
