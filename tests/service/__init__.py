"""The service: settings, the wire, the shard, the learner, checkpoints and the commands."""
