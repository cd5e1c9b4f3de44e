"""A real local model behind llama.cpp's own HTTP server.

usage: model_server.py PORT WEIGHTS [OLLAMA_PORT]

Speaks OpenAI's and Anthropic's formats, and on a port of its own Ollama's. One thread: with more, the threads of a small
machine wait for one another.
"""

import http.client
import json
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import xllamacpp

NAME = "smollm2:135m"


def ollama_chat(asked: dict) -> dict:
    """Ollama's request as OpenAI's."""
    options = asked.get("options", {})
    request = {
        "messages": [openai_message(message) for message in asked["messages"]],
        "max_tokens": options.get("num_predict", -1),
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    for name in ("temperature", "top_p"):
        if name in options:
            request[name] = options[name]
    if asked.get("tools"):
        request["tools"] = asked["tools"]
    return request


def openai_message(message: dict) -> dict:
    """A message with its calls of tools, whose arguments are text there and have ids."""
    said = {"role": message["role"], "content": message.get("content", "")}
    if message["role"] == "tool":
        said["tool_call_id"] = message.get("tool_name", "")
    calls = [call["function"] for call in message.get("tool_calls", [])]
    if calls:
        said["tool_calls"] = [
            {
                "id": call["name"],
                "type": "function",
                "function": {"name": call["name"], "arguments": json.dumps(call["arguments"])},
            }
            for call in calls
        ]
    return said


def ollama_lines(stream):
    """OpenAI's stream as Ollama's lines."""
    end = {"done": True, "done_reason": "stop"}
    names, arguments = {}, {}
    for line in stream:
        if not line.startswith(b"data: {"):
            continue
        chunk = json.loads(line[6:])
        if chunk.get("usage"):
            end["prompt_eval_count"] = chunk["usage"]["prompt_tokens"]
            end["eval_count"] = chunk["usage"]["completion_tokens"]
        for choice in chunk.get("choices", []):
            delta = choice["delta"]
            if delta.get("content"):
                yield {"message": {"role": "assistant", "content": delta["content"]}, "done": False}
            for call in delta.get("tool_calls", []):
                function, number = call.get("function", {}), call["index"]
                names[number] = function.get("name") or names[number]
                arguments[number] = arguments.get(number, "") + (function.get("arguments") or "")
            if choice.get("finish_reason") == "length":
                end["done_reason"] = "length"
    if names:
        calls = [
            {"function": {"name": names[number], "arguments": json.loads(arguments[number] or "{}")}}
            for number in sorted(names)
        ]
        yield {"message": {"role": "assistant", "content": "", "tool_calls": calls}, "done": False}
    yield {"message": {"role": "assistant", "content": ""}, **end}


def ollama(port: int, behind: int) -> None:
    """What Ollama documents of its list of models and of its chat, for as long as the process lives."""

    class Front(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_) -> None:
            pass

        def do_GET(self) -> None:
            known = {"/api/tags": {"models": [{"name": NAME, "model": NAME}]}, "/api/version": {"version": "0"}}
            found = known.get(self.path)
            self.answer(200 if found else 404, found or {"error": "not found"})

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if self.path != "/api/chat" or asked["model"] != NAME:
                self.answer(404, {"error": f"model '{asked.get('model')}' not found"})
                return
            server = http.client.HTTPConnection("127.0.0.1", behind)
            server.request("POST", "/v1/chat/completions", json.dumps(ollama_chat(asked)))
            answer = server.getresponse()
            if answer.status != 200:
                self.answer(answer.status, {"error": answer.read().decode()})
                return
            self.send_response(200)
            self.send_header("content-type", "application/x-ndjson")
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for line in ollama_lines(answer):
                text = json.dumps({"model": NAME, **line}).encode() + b"\n"
                self.wfile.write(b"%x\r\n%s\r\n" % (len(text), text))
            self.wfile.write(b"0\r\n\r\n")

        def answer(self, status: int, body: dict) -> None:
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

    server = ThreadingHTTPServer(("127.0.0.1", port), Front)
    threading.Thread(target=server.serve_forever, daemon=True).start()


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
    for front in sys.argv[3:]:
        ollama(int(front), port)
    while True:
        signal.pause()


main()
