"""The loop: reads state from the tracking branch, takes one step, publishes, and looks again."""
