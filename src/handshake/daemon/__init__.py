"""The watcher: notices packets, starts one process for each, reaps them. It holds nothing that matters."""
