"""A real local model behind llama.cpp's own HTTP server.

usage: model_server.py PORT WEIGHTS

Speaks OpenAI's and Anthropic's formats. One thread: with more, the threads of a small machine wait for one another.
"""

import os
import signal
import sys

import xllamacpp


def main() -> None:
    port, weights = int(sys.argv[1]), sys.argv[2]
    params = xllamacpp.CommonParams()
    params.model.path = weights
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_ctx = 4096
    params.n_parallel = 1
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(params)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    assert server is not None
    while True:
        signal.pause()


main()
