"""python-telegram-bot against the fake: what it asserts is what the real client of a real bot relies on.

python ptb.py http://127.0.0.1:PORT http://127.0.0.1:CONTROL
"""

import asyncio
import json
import sys
import urllib.request

from telegram import Bot, ReplyParameters
from telegram.constants import ParseMode
from telegram.error import BadRequest, Conflict, Forbidden, InvalidToken, RetryAfter, ChatMigrated
from telegram.request import HTTPXRequest

ROOT, CONTROL = sys.argv[1], sys.argv[2]
TOKEN = "7001:ptb_token"


def control(path, **order):
    body = json.dumps({"token": TOKEN, **order}).encode()
    with urllib.request.urlopen(urllib.request.Request(CONTROL + path, body)) as answer:
        return json.load(answer)


async def refused(kind, call):
    try:
        await call
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} expected")


def bot(token):
    request = HTTPXRequest(read_timeout=45)
    return Bot(token, base_url=ROOT + "/bot", request=request, get_updates_request=HTTPXRequest(read_timeout=45))


async def main():
    control("/bot", username="ptb_bot")
    async with bot(TOKEN) as client:
        me = await client.get_me()
        assert (me.id, me.username, me.is_bot) == (7001, "ptb_bot", True)

        # Offsets: nothing is forgotten before a higher offset confirms it.
        for text in ("one", "two"):
            control("/write", message={"chat": 42, "text": text})
        first = await client.get_updates(timeout=5)
        again = await client.get_updates(timeout=5)
        assert [u.message.text for u in first] == ["one", "two"] == [u.message.text for u in again]
        after = await client.get_updates(offset=first[0].update_id + 1, timeout=5)
        assert [u.message.text for u in after] == ["two"]
        assert await client.get_updates(offset=first[1].update_id + 1, timeout=0) == ()
        assert control("/sent")["pending"] == 0

        # A held poll ends when something comes.
        held = asyncio.create_task(client.get_updates(timeout=20))
        await asyncio.sleep(0.2)
        control("/write", message={"chat": 42, "text": "three"})
        update = (await asyncio.wait_for(held, 5))[0]
        assert update.message.from_user.id == 42 and update.message.chat.type == "private"

        # A second poller ends the first.
        held = asyncio.create_task(client.get_updates(offset=update.update_id + 1, timeout=20))
        await asyncio.sleep(0.2)
        await client.get_updates(offset=update.update_id + 1, timeout=0)
        await refused(Conflict, held)

        sent = await client.send_message(42, "<b>b</b> &amp; 😀 <i>i</i>", parse_mode=ParseMode.HTML,
                                         reply_parameters=ReplyParameters(1))
        assert sent.text == "b & 😀 i"
        assert [sent.parse_entity(e) for e in sent.entities] == ["b", "i"]
        edited = await client.edit_message_text("changed", 42, sent.message_id)
        assert edited.text == "changed"
        error = await refused(BadRequest, client.edit_message_text("changed", 42, sent.message_id))
        assert "not modified" in str(error)
        error = await refused(BadRequest, client.send_message(42, "<b>x", parse_mode=ParseMode.HTML))
        assert "an't parse entities" in str(error)
        await client.send_message(42, "😀" * 2048)
        error = await refused(BadRequest, client.send_message(42, "😀" * 2048 + "x"))
        assert "too long" in str(error)
        error = await refused(BadRequest, client.send_message(43, "x"))
        assert "hat not found" in str(error)
        assert await client.send_chat_action(42, "typing")
        assert await client.set_my_commands([("help", "Help")])
        assert [c.command for c in await client.get_my_commands()] == ["help"]
        assert await client.delete_message(42, sent.message_id)

        control("/fault", method="sendMessage", fault="too_fast", value=7)
        error = await refused(RetryAfter, client.send_message(42, "x"))
        control("/write", message={"chat": -100, "from": 42, "text": "group"})
        control("/bot", migrate=[-100, -1000000000100])
        error = await refused(ChatMigrated, client.send_message(-100, "x"))
        assert error.new_chat_id == -1000000000100
        control("/bot", block=42)
        await refused(Forbidden, client.send_message(42, "x"))
        control("/bot", webhook="https://example.org/")
        await refused(Conflict, client.get_updates(timeout=0))
        assert (await client.get_webhook_info()).url == "https://example.org/"
        assert await client.delete_webhook()
        await client.get_updates(timeout=0)
    await refused(InvalidToken, bot("1:nobody").initialize())
    print("python-telegram-bot: all as expected")


asyncio.run(main())
