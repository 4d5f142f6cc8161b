"""Tests of `perdure.sharding`."""
