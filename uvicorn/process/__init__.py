"""What every process of ours has, master or worker: a channel, signals, an end, a file with its pid."""
