"""What programs import as `workers.entrypoints`, `workers.rpc`, `workers.utils`, `workers.workflows`."""
