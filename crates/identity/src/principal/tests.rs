//! What is read as whom, on every service: spellings of people and of the wire, look-alikes, numbers that are nobody's.

use super::*;

const UUID: &str = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";

fn canonical(result: Result<Principal, IdError>) -> String {
    result.map_or_else(|_| "refused".to_owned(), |found| found.to_string())
}

#[test]
fn what_people_write_has_one_canonical_form() {
    let aci = format!("signal:aci:{UUID}");
    for (channel, text, expected) in [
        (
            "whatsapp",
            "+1 (555) 555-0100",
            "whatsapp:e164:+15555550100",
        ),
        (
            "whatsapp",
            "whatsapp:+1.555.555.0100",
            "whatsapp:e164:+15555550100",
        ),
        ("whatsapp", "tel:+15555550100", "whatsapp:e164:+15555550100"),
        ("whatsapp", "+0987654321", "whatsapp:e164:+0987654321"),
        ("whatsapp", "0151 1234567", "whatsapp:number:01511234567"),
        (
            "whatsapp",
            "0049 151 1234567",
            "whatsapp:number:00491511234567",
        ),
        ("whatsapp", "123@lid", "whatsapp:lid:123"),
        ("whatsapp", "lid:123", "whatsapp:lid:123"),
        ("whatsapp", "US.aB3", "whatsapp:bsuid:US.aB3"),
        ("whatsapp", "+1555", "refused"),
        ("whatsapp", "+1234567890123456", "refused"),
        ("whatsapp", "@name", "refused"),
        ("whatsapp", "uuid:1", "refused"),
        ("telegram", "TG:123", "telegram:id:123"),
        ("telegram", "telegram:id:123", "telegram:id:123"),
        ("telegram", " @UserName ", "telegram:user:username"),
        ("telegram", "user:username", "telegram:user:username"),
        ("telegram", "0123", "refused"),
        ("telegram", "-123", "refused"),
        ("telegram", "12345678901234567", "refused"),
        ("telegram", "@x", "refused"),
        ("telegram", "+15555550100", "refused"),
        (
            "discord",
            "<@!123456789012345678>",
            "discord:id:123456789012345678",
        ),
        (
            "discord",
            "user:123456789012345678",
            "discord:id:123456789012345678",
        ),
        ("discord", "Some.Body", "discord:user:some.body"),
        ("discord", "Some#1234", "discord:user:some#1234"),
        ("discord", "1234", "refused"),
        ("discord", "two words", "refused"),
        ("signal", "signal:+15555550100", "signal:e164:+15555550100"),
        ("signal", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", &aci),
        ("signal", "uuid:a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", &aci),
        ("signal", "somebody", "refused"),
        (
            "imessage",
            "imessage:Me@Example.org",
            "imessage:email:me@example.org",
        ),
        ("imessage", "Chat_ID:12", "imessage:chat:chat_id:12"),
        (
            "imessage",
            "chat_guid:iMessage;+;chat1",
            "imessage:chat:chat_guid:iMessage;+;chat1",
        ),
        ("imessage", "chat_id:x", "refused"),
        (
            "bluebubbles",
            "sms:+15555550100",
            "bluebubbles:e164:+15555550100",
        ),
        ("matrix", "@a:b", "refused"),
    ] {
        assert_eq!(
            canonical(Principal::listed(channel, text)),
            expected,
            "{channel} {text}"
        );
    }
}

#[test]
fn every_form_is_read_back_as_itself() {
    for (channel, text) in [
        ("whatsapp", "+15555550100"),
        ("whatsapp", "lid:123"),
        ("whatsapp", "US.aB3"),
        ("whatsapp", "01511234567"),
        ("telegram", "123"),
        ("telegram", "@username"),
        ("discord", "123456789012345678"),
        ("discord", "some.body"),
        ("signal", UUID),
        ("imessage", "a@b.example"),
        ("imessage", "chat_identifier:chat8"),
    ] {
        let principal = Principal::listed(channel, text).unwrap();
        let shown = principal.to_string();
        for spelling in [principal.form(), shown] {
            let again = Principal::listed(channel, &spelling);
            assert_eq!(again.as_ref(), Ok(&principal), "{channel} {spelling}");
        }
        let named = Principal::wire(channel, &principal.form());
        assert_eq!(
            named.is_ok(),
            principal.kind().is_person(),
            "{channel} {text}"
        );
        assert!(named.is_err() || named == Ok(principal));
    }
}

#[test]
fn the_wires_own_spellings_mean_the_same_person_and_never_a_name() {
    for (channel, text, expected) in [
        ("whatsapp", "15555550100", "whatsapp:e164:+15555550100"),
        (
            "whatsapp",
            "15555550100:7@s.whatsapp.net",
            "whatsapp:e164:+15555550100",
        ),
        ("whatsapp", "99:7@lid", "whatsapp:lid:99"),
        ("whatsapp", "15555550100@evil.example", "refused"),
        ("whatsapp", "120363000000000000@g.us", "refused"),
        ("telegram", "-1001234567890", "telegram:id:-1001234567890"),
        ("telegram", "@username", "refused"),
        ("telegram", "", "refused"),
        ("discord", "some.body", "refused"),
        (
            "signal",
            UUID,
            "signal:aci:a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        ),
        ("signal", "01511234567", "refused"),
        ("imessage", "chat_id:12", "refused"),
        ("imessage", "262966", "refused"),
    ] {
        assert_eq!(
            canonical(Principal::wire(channel, text)),
            expected,
            "{channel} {text}"
        );
    }
}

#[test]
fn look_alikes_and_endless_texts_are_nobody() {
    for (channel, text) in [
        ("telegram", "@usеrname"),
        ("telegram", "１２３"),
        ("telegram", "@user\u{200b}name"),
        ("discord", "sоme.body"),
        ("whatsapp", "+1555555０100"),
        ("whatsapp", "+1\u{a0}5555550100"),
        ("imessage", "me@exаmple.org"),
        ("signal", "＋15555550100"),
    ] {
        assert!(
            Principal::listed(channel, text).is_err(),
            "{channel} {text}"
        );
        assert!(Principal::wire(channel, text).is_err(), "{channel} {text}");
    }
    let long = format!("{}@example.org", "a".repeat(MAX));
    assert!(Principal::listed("imessage", &long).is_err());
    assert!(group("signal", &"a".repeat(MAX + 1)).is_err());
}

#[test]
fn numbers_that_cannot_be_anybodys_say_why() {
    for (text, why) in [
        ("+15555550100", None),
        ("+0987654321", Some("no country code")),
        ("004915112345678", Some("00")),
        ("015112345678", Some("has no +")),
    ] {
        let doubt = Principal::listed("whatsapp", text).unwrap().doubt();
        assert_eq!(doubt.is_some(), why.is_some(), "{text}");
        assert!(
            doubt.unwrap_or_default().contains(why.unwrap_or_default()),
            "{text}"
        );
    }
}

#[test]
fn groups_have_one_spelling_too() {
    for (channel, text, expected) in [
        ("telegram", "-1001234567890", Some("-1001234567890")),
        ("telegram", "chat", None),
        (
            "whatsapp",
            "120363000000000000@g.us",
            Some("120363000000000000@g.us"),
        ),
        ("whatsapp", "120363000000000000", None),
        (
            "signal",
            "signal:group:AbCdEfGh+/123456==",
            Some("AbCdEfGh+/123456=="),
        ),
        ("signal", "AbCdEfGh+/123456==", Some("AbCdEfGh+/123456==")),
        ("signal", "short", None),
        ("signal", "AbCdEfGh:dm:12345678", None),
        (
            "discord",
            "123456789012345678/223456789012345678",
            Some("123456789012345678/223456789012345678"),
        ),
        (
            "discord",
            "@me/223456789012345678",
            Some("@me/223456789012345678"),
        ),
        ("discord", "general/223456789012345678", None),
        ("discord", "223456789012345678", None),
        ("imessage", "12", Some("chat_id:12")),
        ("bluebubbles", "CHAT_GUID:x", Some("chat_guid:x")),
        ("slack", "C1", None),
    ] {
        assert_eq!(
            group(channel, text).ok().as_deref(),
            expected,
            "{channel} {text}"
        );
    }
    assert!(is_thread("telegram", "7") && !is_thread("telegram", "x"));
    assert!(is_thread("discord", "123456789012345678") && !is_thread("signal", "7"));
}
