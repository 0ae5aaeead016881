"""What every layer stands on: values, errors, the registry, configs, assets and paths."""
