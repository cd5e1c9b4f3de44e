//! What a call gave, and what policy is told of it before the agent gets it: where it comes from and its typed fields, never
//! its text. What is too much is left out, and said to be.

use clawdbot_proto::v1::{self, Entry, Label};

/// Entries or members of one report.
const MOST: usize = 512;
/// Bytes of all of them; a report has 256 KiB.
const BYTES: usize = 192 << 10;

/// Output of a tool.
#[derive(Debug, Default)]
pub struct Output {
    /// For the model.
    pub text: String,
    /// Where the text comes from.
    pub label: Label,
    /// The text holds words that are neither the executor's own nor in the entries.
    pub strange: bool,
    /// The listed things.
    pub entries: Vec<Entry>,
    /// Names that the service itself guarantees to belong to the owner's own place.
    pub members: Vec<String>,
}

impl Output {
    /// The executor's own words, and numbers.
    pub fn own(text: String) -> Self {
        Self {
            text,
            label: Label::Typed,
            ..Self::default()
        }
    }

    /// What policy is told; the text is all that is left here.
    pub fn report(
        &mut self,
        request: &v1::InvokeRequest,
        class: v1::Class,
        ran: bool,
    ) -> v1::CallReport {
        let (mut entries, mut members) = (
            std::mem::take(&mut self.entries),
            std::mem::take(&mut self.members),
        );
        let (many, listed) = (entries.len(), members.len());
        let mut left = BYTES;
        let mut fits = |size: usize| {
            let fits = size <= left;
            left -= size.min(left);
            fits
        };
        entries.truncate(MOST);
        entries.retain(|entry| fits(size(entry)));
        members.truncate(MOST);
        members.retain(|member| fits(member.len() + 8));
        v1::CallReport {
            handle: request.handle.clone(),
            caller_class: class.into(),
            call_id: request.call_id.clone(),
            tool: request.tool.clone(),
            ran,
            label: self.label.into(),
            text: self.strange,
            more: entries.len() < many || members.len() < listed,
            entries,
            members,
        }
    }
}

fn size(entry: &Entry) -> usize {
    let texts = entry
        .names
        .iter()
        .chain(&entry.ids)
        .chain(&entry.recipients);
    texts.map(|text| text.len() + 8).sum::<usize>()
        + entry.amounts.len() * 8
        + entry.r#type.len()
        + 16
}

#[cfg(test)]
mod tests {
    use clawdbot_proto::v1::Class;

    use super::*;

    #[test]
    fn a_report_is_bounded_says_what_is_missing_and_holds_no_text() {
        let entry = |n: usize| Entry {
            names: vec![format!("name {n}")],
            ..Entry::default()
        };
        for (count, name, more) in [(3, 8, false), (600, 8, true), (3, BYTES, true)] {
            let mut output = Output {
                text: "canary".into(),
                label: Label::Private,
                strange: true,
                entries: (0..count).map(entry).collect(),
                members: vec!["m".repeat(name)],
            };
            let report = output.report(&v1::InvokeRequest::default(), Class::Main, true);
            assert_eq!(report.more, more, "{count} {name}");
            assert!(report.entries.len() <= MOST && !format!("{report:?}").contains("canary"));
            assert_eq!(
                (report.label(), output.text.as_str()),
                (Label::Private, "canary")
            );
        }
    }
}
