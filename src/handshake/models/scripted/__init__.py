"""The scripted model: an OpenAI-compatible server that answers by rules; the loop's tests and demos run on it.

    python -m handshake.models.scripted SCRIPT --port N [--count-file F]

docs: see `handshake.models.scripted.script` for the script's form.
"""
