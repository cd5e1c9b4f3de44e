//! Lists that are written out without anybody in them.

use super::tests::{ANN, Known, direct_from, judged, telegram};
use super::*;
use crate::distil::tests::settings_of;

#[test]
fn a_list_that_is_written_out_is_the_list_also_without_anybody_in_it() {
    // A list that is written out is the list, also without anybody in it; the line before each is what holds without it.
    let everywhere = "groups: {'-1': {topics: {'7': {}}}}, allowFrom: [1]";
    let in_group = |thread| Message {
        place: Place::Group { id: "-1", thread },
        mentioned: true,
        ..direct_from(ANN)
    };
    let guest = "agent:main:telegram:group:-1";
    for (lists, in_the_group, in_the_topic) in [
        (everywhere, true, true),
        (
            "groups: {'-1': {topics: {'7': {}}}}, allowFrom: [1], groupAllowFrom: []",
            false,
            false,
        ),
        (
            "groups: {'-1': {allowFrom: [], topics: {'7': {}}}}, allowFrom: [1]",
            false,
            false,
        ),
        (
            "groups: {'-1': {topics: {'7': {allowFrom: []}}}}, allowFrom: [1]",
            true,
            false,
        ),
        (
            "groups: {'-1': {allowFrom: [], topics: {'7': {allowFrom: [1]}}}}, allowFrom: [1]",
            false,
            true,
        ),
        (
            "groups: {'*': {allowFrom: []}}, allowFrom: [1]",
            false,
            false,
        ),
        (
            "groupPolicy: 'open', groups: {'-1': {topics: {'7': {}}}}",
            true,
            true,
        ),
        (
            "groupPolicy: 'open', groups: {'-1': {allowFrom: [], topics: {'7': {}}}}",
            false,
            false,
        ),
    ] {
        let settings = telegram(lists);
        for (thread, passes) in [("", in_the_group), ("7", in_the_topic)] {
            let verdict = judged(&settings, &Known::default(), &in_group(thread));
            match passes {
                true => assert!(verdict.contains(guest), "{lists} {thread}: {verdict}"),
                false => assert_eq!(verdict, "group.sender", "{lists} {thread}"),
            }
        }
    }
    for (owners, expected) in [
        ("", Class::Main),
        ("commands: {ownerAllowFrom: []},", Class::Guest),
    ] {
        let text =
            format!("{{{owners} channels: {{telegram: {{botToken: '${{T}}', allowFrom: [1]}}}}}}");
        let (settings, people) = (settings_of(&text), Known::default());
        let channel = settings.channel("telegram").unwrap();
        match judge(&settings, channel, &people, &direct_from(ANN)) {
            Verdict::Admit { class, .. } => assert_eq!(class, expected, "{owners}"),
            other => panic!("{other:?}"),
        }
    }
}
