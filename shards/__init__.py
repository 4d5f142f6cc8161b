"""Processes that own objects: shard, shard log, recovery, catalogue, supervisor."""
