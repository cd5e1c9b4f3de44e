"""The official Python SDK of the API that the gateway offers, as a client of it.

Needs the product with both interfaces on (gateway.http.endpoints.{chatCompletions,responses}.enabled) and an agent whose
model answers. From the environment:

  CLAWDBOT_URL    address of the front door, for instance http://127.0.0.1:18789
  CLAWDBOT_TOKEN  its token
  CLAWDBOT_ECHO   set when the model says the last message back: then answers are compared, too

Every check is a function; the first that fails ends the program with its traceback.
"""

import asyncio
import os
from contextlib import contextmanager

import openai

URL = os.environ["CLAWDBOT_URL"].rstrip("/") + "/v1"
TOKEN = os.environ["CLAWDBOT_TOKEN"]
ECHO = bool(os.environ.get("CLAWDBOT_ECHO"))
WORDS = "The quick brown fox says \"ä€😀\" to you."
QUESTION = [{"role": "system", "content": "Answer in one short sentence."}, {"role": "user", "content": WORDS}]

# Retries would hide what is wrong; a model on a slow machine may take its time.
client = openai.OpenAI(base_url=URL, api_key=TOKEN, max_retries=0, timeout=300)

# At once. More than 32 connections of one model worker are refused on kernels where the dialer has to relay them.
WIDE = 24 if ECHO else 4


@contextmanager
def refused(kind, code=None, param=None):
    """The block raises this error of the SDK, which carries what the gateway said."""
    try:
        yield
    except kind as error:
        assert error.code == code, (error.code, code, error)
        assert error.param == param, (error.param, param, error)
        assert error.message and TOKEN not in str(error), error
    else:
        raise AssertionError(f"nothing was raised: {kind}, {code}, {param}")


def check_text(text):
    assert text.strip(), "an empty answer"
    if ECHO:
        assert WORDS in text, text


def check_usage(usage, read, written):
    assert read > 0 and written > 0 and usage.total_tokens == read + written, usage


def models():
    ids = [model.id for model in client.models.list()]
    assert ids[0] == "clawdbot" and len(ids) >= 2, ids
    for name in ids:
        assert client.models.retrieve(name).id == name
    with refused(openai.NotFoundError, "model_not_found", "model"):
        client.models.retrieve("gpt-4o")


def chat_whole():
    answer = client.chat.completions.create(model="clawdbot", messages=QUESTION, max_completion_tokens=64)
    assert answer.object == "chat.completion" and answer.id.startswith("chatcmpl-") and answer.created > 1_700_000_000
    assert answer.model == "clawdbot" and answer._request_id.startswith("req_")
    (choice,) = answer.choices
    assert choice.finish_reason in ("stop", "length") and choice.message.role == "assistant"
    check_text(choice.message.content)
    check_usage(answer.usage, answer.usage.prompt_tokens, answer.usage.completion_tokens)


def chat_stream():
    chunks = list(client.chat.completions.create(
        model="clawdbot", messages=QUESTION, max_tokens=64, stream=True, stream_options={"include_usage": True},
    ))
    assert len({chunk.id for chunk in chunks}) == 1
    *told, last = chunks
    assert told[0].choices[0].delta.role == "assistant"
    assert all(chunk.usage is None for chunk in told)
    check_text("".join(chunk.choices[0].delta.content or "" for chunk in told))
    assert [chunk.choices[0].finish_reason for chunk in told[:-1]] == [None] * (len(told) - 1)
    assert told[-1].choices[0].finish_reason in ("stop", "length")
    assert last.choices == []
    check_usage(last.usage, last.usage.prompt_tokens, last.usage.completion_tokens)


def chat_helper():
    with client.chat.completions.stream(model="clawdbot", messages=QUESTION, max_tokens=64) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]
        whole = stream.get_final_completion().choices[0].message.content
    assert "".join(deltas) == whole
    check_text(whole)


def response_whole():
    answer = client.responses.create(model="clawdbot", instructions="Be brief.", input=WORDS, max_output_tokens=64)
    assert answer.object == "response" and answer.id.startswith("resp_") and answer.error is None
    assert answer.status in ("completed", "incomplete") and answer.instructions == "Be brief."
    check_text(answer.output_text)
    check_usage(answer.usage, answer.usage.input_tokens, answer.usage.output_tokens)
    # A conversation goes on with the items of the answer.
    more = client.responses.create(
        model="clawdbot",
        input=[{"role": "user", "content": "Hello."}, *answer.output, {"role": "user", "content": WORDS}],
    )
    check_text(more.output_text)


def response_stream():
    events = list(client.responses.create(model="clawdbot", input=WORDS, max_output_tokens=64, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events]
    deltas = [event for event in events if event.type == "response.output_text.delta"]
    assert kinds[:4] == [
        "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
    ]
    assert kinds[4:-4] == ["response.output_text.delta"] * len(deltas) and deltas, kinds
    assert kinds[-4:-1] == ["response.output_text.done", "response.content_part.done", "response.output_item.done"]
    assert kinds[-1] in ("response.completed", "response.incomplete")
    text = "".join(event.delta for event in deltas)
    assert events[-4].text == text == events[-1].response.output_text
    check_text(text)


def response_helper():
    with client.responses.stream(model="clawdbot", input=WORDS) as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        assert stream.get_final_response().output_text == text
    check_text(text)


def sessions():
    for _ in range(2):
        answer = client.chat.completions.create(model="clawdbot", messages=QUESTION, user="Zoë@example.org")
        check_text(answer.choices[0].message.content)
    headers = {"x-clawdbot-session-key": "sdk-notes"}
    answer = client.chat.completions.create(model="clawdbot", messages=QUESTION, extra_headers=headers)
    check_text(answer.choices[0].message.content)
    history = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}, *QUESTION]
    answer = client.chat.completions.create(model="clawdbot", messages=history)
    check_text(answer.choices[0].message.content)


def refusals():
    def chat(**more):
        client.chat.completions.create(**{"model": "clawdbot", "messages": QUESTION, **more})

    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    image = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]
    with refused(openai.BadRequestError, "unsupported_parameter", "tools"):
        chat(tools=[tool])
    with refused(openai.BadRequestError, "invalid_value", "messages[0].content[0]"):
        chat(messages=[{"role": "user", "content": image}])
    with refused(openai.BadRequestError, "invalid_value", "n"):
        chat(n=2)
    with refused(openai.BadRequestError, "unsupported_parameter", "logprobs"):
        chat(logprobs=True, stream=True)
    with refused(openai.BadRequestError, "invalid_value", "temperature"):
        chat(temperature=5)
    with refused(openai.NotFoundError, "model_not_found", "model"):
        chat(model="gpt-4o")
    with refused(openai.BadRequestError, "invalid_value", "messages"):
        chat(messages=[])
    with refused(openai.APIStatusError, "request_too_large"):
        chat(messages=[{"role": "user", "content": "x" * (2 << 20)}])
    with refused(openai.BadRequestError, "unsupported_parameter", "previous_response_id"):
        client.responses.create(model="clawdbot", input=WORDS, previous_response_id="resp_1")
    with refused(openai.BadRequestError, "unsupported_parameter", "tools"):
        client.responses.create(model="clawdbot", input=WORDS, tools=[{"type": "web_search"}])
    with refused(openai.NotFoundError, "unknown_url"):
        client.embeddings.create(model="clawdbot", input="x")
    stranger = client.with_options(api_key="wrong-" + "0" * 32)
    with refused(openai.AuthenticationError, "invalid_api_key"):
        stranger.models.list()


def hang_up():
    stream = client.chat.completions.create(model="clawdbot", messages=QUESTION, stream=True)
    next(iter(stream))
    stream.close()
    # What was given up is in nobody's way.
    chat_whole()


async def many():
    async with openai.AsyncOpenAI(base_url=URL, api_key=TOKEN, max_retries=0, timeout=300) as asynchronous:
        async def one(number):
            text = ""
            stream = await asynchronous.chat.completions.create(
                model="clawdbot", messages=[{"role": "user", "content": f"{number}: {WORDS}"}], max_tokens=16, stream=True,
            )
            async for chunk in stream:
                text += chunk.choices[0].delta.content or ""
            assert f"{number}: {WORDS}" in text if ECHO else text, (number, text)

        await asyncio.gather(*(one(number) for number in range(WIDE)))


def main():
    checks = [
        models, chat_whole, chat_stream, chat_helper, response_whole, response_stream, response_helper, sessions,
        refusals, hang_up,
    ]
    for check in checks:
        check()
        print(f"ok {check.__name__}", flush=True)
    asyncio.run(many())
    print("ok many", flush=True)


main()
