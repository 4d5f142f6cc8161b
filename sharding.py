"""`from perdure.sharding import …`: the public names of `sdk/sharding/`."""

from .sdk.sharding.aggregator import Aggregator
from .sdk.sharding.by_key import ByKey
from .sdk.sharding.by_map import ByMap, ByRange
from .sdk.sharding.hot import Load, SplitPolicy
from .sdk.sharding.positions import HASHED, SORTED
from .sdk.sharding.round_robin import RoundRobin
from .sdk.sharding.shard import Shard
from .sdk.sharding.shard_map import ShardMap

__all__ = [
    "HASHED",
    "SORTED",
    "Aggregator",
    "ByKey",
    "ByMap",
    "ByRange",
    "Load",
    "RoundRobin",
    "Shard",
    "ShardMap",
    "SplitPolicy",
]
