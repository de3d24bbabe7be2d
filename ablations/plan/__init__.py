"""The plan: which runs an ablation consists of, exactly."""
