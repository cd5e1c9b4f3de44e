//! What a session may use and which list says so: the same steps that decide, in words.

use super::lists::{Lists, Sandbox};
use super::steps::{Asker, Tool, is_sandboxed, sandbox_of, steps};

/// The result for one session.
pub(crate) struct Effective {
    pub(crate) sandbox: Sandbox,
    pub(crate) sandboxed: bool,
    /// In the order in which they were asked for.
    pub(crate) tools: Vec<Line>,
}

/// The result for one tool.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) tool: String,
    pub(crate) allowed: bool,
    /// The list that decides.
    pub(crate) source: String,
    /// What would let it through; empty if it is allowed.
    pub(crate) remedy: String,
}

/// Explains each tool; the first list that refuses one is its source, else the first that includes it.
pub(crate) fn explain<'t>(
    lists: &Lists,
    asker: &Asker<'_>,
    tools: impl Iterator<Item = Tool<'t>>,
) -> Effective {
    let steps = steps(lists, asker);
    let line = |tool: Tool<'_>| {
        let refuses = steps.iter().find(|step| !step.passes(tool));
        let decides = refuses.or_else(|| steps.iter().find(|step| step.is_allow()));
        Line {
            tool: tool.name.to_owned(),
            allowed: refuses.is_none(),
            remedy: refuses.map_or_else(String::new, |step| step.remedy()),
            source: decides.map_or_else(|| "no list forbids it".to_owned(), |step| step.source()),
        }
    };
    let sandbox = sandbox_of(lists, asker.session);
    Effective {
        sandbox,
        sandboxed: is_sandboxed(&sandbox, asker.class),
        tools: tools.map(line).collect(),
    }
}
