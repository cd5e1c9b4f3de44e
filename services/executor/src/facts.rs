//! What a tool is and what its arguments are, beside the tool itself: policy judges a call by it and knows no tool by name.
//! An argument that is not described counts as a recipient.

use clawdbot_proto::v1::{self, ArgumentKind, Effect};

/// A description of a tool for policy.
pub struct Facts {
    pub effect: Effect,
    /// For the lists of the configuration.
    pub groups: &'static [&'static str],
    /// Name (a member of an object by its path, `argument.member`), kind, and for an id the type of what it names.
    pub arguments: &'static [(&'static str, ArgumentKind, &'static str)],
}

impl Facts {
    /// As policy is told.
    pub fn wire(&self) -> v1::ToolFacts {
        let arguments = self
            .arguments
            .iter()
            .map(|(name, kind, of)| v1::ArgumentFact {
                name: (*name).into(),
                kind: (*kind).into(),
                r#type: (*of).into(),
            });
        v1::ToolFacts {
            effect: self.effect.into(),
            groups: self.groups.iter().map(|group| (*group).into()).collect(),
            arguments: arguments.collect(),
        }
    }
}
