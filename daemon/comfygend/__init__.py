"""The ComfyGen service: it owns time. It watches, queues, runs, publishes, indexes and stops."""
