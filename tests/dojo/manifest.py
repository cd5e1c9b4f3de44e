"""Writes manifest.json: what the author of each tool says about it. No text of the benchmark's tasks or data is here.

does: read, write (changes something of the owner's), egress (something leaves for somebody else or the Internet),
      destroy (takes something away for good).
arguments: recipient  who gets something or is let in          id:TYPE which existing thing
           url        where on the Internet                    path    the name of a new or existing thing, as people say it
           content    text that is stored or sent              amount  money or another quantity that costs
           value      a setting that takes the place of another
           free       neither routes nor carries anything (dates, flags)
result: label  typed    ids, numbers, dates, short names only  public   a catalogue or web page
               private  the owner's mail, files, messages      secret   identity papers, account data
        entry  the typed fields of each entry: name, id, recipient, amount
        own    the recipients in an entry are the owner's own records, not what a stranger wrote there
        closed typed fields that the service itself guarantees to be members of the owner's own workspace
"""
import json
import pathlib
def t(does, args=None, label=None, entry=None, own=False, closed=()):
    r = {"label": label or "typed"}
    if entry: r["entry"] = entry
    if own: r["own"] = True
    if closed: r["closed"] = list(closed)
    return {"does": does, "arguments": args or {}, "result": r}
free = lambda *a: {k: "free" for k in a}
MAIL = dict(label="private", entry={"type": "mail", "name": ["subject"], "id": ["id_"]})
EVENT = dict(label="private", entry={"type": "event", "name": ["title"], "id": ["id_"], "recipient": ["participants"]}, own=True)
FILE = dict(label="private", entry={"type": "file", "name": ["filename"], "id": ["id_"]}, own=True)
send_email = t("egress", {"recipients": "recipient", "cc": "recipient", "bcc": "recipient", "subject": "content",
                          "body": "content", "attachments": "id:file", "attachments.type": "free", "attachments.file_id": "id:file"}, **MAIL)
create_event = t("egress", {"title": "path", "description": "content", "location": "content", "participants": "recipient",
                            **free("start_time", "end_time")}, **EVENT)
calendar = {
    "create_calendar_event": create_event,
    "search_calendar_events": t("read", free("query", "date"), **EVENT),
    "get_day_calendar_events": t("read", free("day"), **EVENT),
    "cancel_calendar_event": t("destroy", {"event_id": "id:event"}),
}
workspace = {
    "send_email": send_email, "delete_email": t("destroy", {"email_id": "id:mail"}),
    **{n: t("read", {}, **MAIL) for n in ("get_unread_emails", "get_sent_emails", "get_received_emails", "get_draft_emails")},
    "search_emails": t("read", free("query", "sender"), **MAIL),
    **{n: t("read", free("query"), "typed", {"name": ["name"], "recipient": ["email"]}, True)
       for n in ("search_contacts_by_name", "search_contacts_by_email")},
    "get_current_day": t("read"), **calendar,
    "reschedule_calendar_event": t("egress", {"event_id": "id:event", **free("new_start_time", "new_end_time")}, **EVENT),
    "add_calendar_event_participants": t("egress", {"event_id": "id:event", "participants": "recipient"}, **EVENT),
    "append_to_file": t("write", {"file_id": "id:file", "content": "content"}, **FILE),
    "create_file": t("write", {"filename": "path", "content": "content"}, **FILE),
    "delete_file": t("destroy", {"file_id": "id:file"}, **FILE),
    "share_file": t("egress", {"file_id": "id:file", "email": "recipient", "permission": "free"}, **FILE),
    **{n: t("read", free(*a), **FILE) for n, a in (("search_files_by_filename", ["filename"]), ("get_file_by_id", ["file_id"]),
       ("list_files", []), ("search_files", ["query"]))},
}
catalogue = ["get_all_hotels_in_city", "get_hotels_prices", "get_rating_reviews_for_hotels", "get_hotels_address",
    "get_all_restaurants_in_city", "get_cuisine_type_for_restaurants", "get_restaurants_address",
    "get_rating_reviews_for_restaurants", "get_dietary_restrictions_for_all_restaurants",
    "get_contact_information_for_restaurants", "get_price_for_restaurants", "check_restaurant_opening_hours",
    "get_all_car_rental_companies_in_city", "get_car_types_available", "get_rating_reviews_for_car_rental",
    "get_car_fuel_options", "get_car_rental_address", "get_car_price_per_day", "get_flight_information"]
travel = {
    "get_user_information": t("read", {}, "secret"),
    **{n: t("read", {}, "public") for n in catalogue}, **calendar, "send_email": send_email,
    "reserve_hotel": t("egress", {"hotel": "recipient", **free("start_day", "end_day")}),
    "reserve_car_rental": t("egress", {"company": "recipient", **free("start_time", "end_time")}),
    "reserve_restaurant": t("egress", {"restaurant": "recipient", "start_time": "free"}),
}
PAY = {"recipient": "recipient", "amount": "amount", "subject": "content", **free("date", "recurring")}
ENTRY = {"type": "payment", "name": ["subject", "recipient"], "id": ["id"], "recipient": ["recipient"], "amount": ["amount"]}
banking = {
    "get_iban": t("read"), "get_balance": t("read"),
    "get_most_recent_transactions": t("read", free("n"), "private", {**ENTRY, "type": "record", "recipient": ["sender", "recipient"],
                                      "name": ["subject", "recipient", "sender"]}),
    "get_scheduled_transactions": t("read", {}, "private", ENTRY, True),
    "read_file": t("read", free("file_path"), "private"), "get_user_info": t("read", {}, "secret"),
    "send_money": t("egress", PAY), "schedule_transaction": t("egress", PAY),
    "update_scheduled_transaction": t("egress", {"id": "id:payment", **PAY}),
    "update_password": t("write", {"password": "value"}),
    "update_user_info": t("write", {k: "value" for k in ("first_name", "last_name", "street", "city")}),
}
MSG = dict(label="private", closed=["sender"])
slack = {
    "get_channels": t("read", {}, "typed", closed=["*"]), "get_users_in_channel": t("read", free("channel"), "typed", closed=["*"]),
    "read_channel_messages": t("read", free("channel"), **MSG), "read_inbox": t("read", free("user"), **MSG),
    "send_direct_message": t("egress", {"recipient": "recipient", "body": "content"}),
    "send_channel_message": t("egress", {"channel": "recipient", "body": "content"}),
    "add_user_to_channel": t("egress", {"user": "recipient", "channel": "recipient"}),
    "invite_user_to_slack": t("egress", {"user": "recipient", "user_email": "recipient"}),
    "remove_user_from_slack": t("destroy", {"user": "recipient"}),
    "get_webpage": t("egress", {"url": "url"}, "public"), "post_webpage": t("egress", {"url": "url", "content": "content"}),
}
with open(pathlib.Path(__file__).with_name("manifest.json"), "w") as file:
    json.dump(dict(workspace=workspace, travel=travel, banking=banking, slack=slack), file, indent=1)
    file.write("\n")
