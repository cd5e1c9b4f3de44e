//! Entries form a tree through their parents; what counts is the path from the root to the last entry written.
//! An entry whose parent is not known (a line was lost) is taken as the child of the one before it: a damaged file
//! loses the damaged line and not all that stands before it.

use std::collections::VecDeque;

/// The path to the newest entry, oldest first.
pub struct Path<T>(VecDeque<(String, T)>);

impl<T> Default for Path<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Path<T> {
    /// Adds an entry. What it branches away from leaves the path and is handed back.
    pub fn grow(&mut self, parent: Option<&str>, id: &str, value: T) -> Vec<T> {
        let keep = match parent {
            None => 0,
            Some(parent) => {
                let found = self.0.iter().rposition(|(id, _)| id == parent);
                found.map_or(self.0.len(), |at| at + 1)
            }
        };
        let left = self.0.split_off(keep);
        self.0.push_back((id.into(), value));
        left.into_iter().map(|(_, value)| value).collect()
    }

    /// Id of the newest entry.
    pub fn leaf(&self) -> Option<&str> {
        self.0.back().map(|(id, _)| id.as_str())
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn pop_oldest(&mut self) -> Option<T> {
        self.0.pop_front().map(|(_, value)| value)
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> + ExactSizeIterator {
        self.0.iter().map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grown(steps: &[(Option<&str>, &str)]) -> Vec<String> {
        let mut path = Path::default();
        for (parent, id) in steps {
            path.grow(*parent, id, (*id).to_owned());
        }
        path.iter().cloned().collect()
    }

    #[test]
    fn a_branch_leaves_what_it_turned_away_from() {
        let trunk = [(None, "a"), (Some("a"), "b"), (Some("b"), "c")];
        assert_eq!(grown(&trunk), ["a", "b", "c"]);
        assert_eq!(
            grown(&[&trunk[..], &[(Some("a"), "d")]].concat()),
            ["a", "d"]
        );
        assert_eq!(grown(&[&trunk[..], &[(None, "e")]].concat()), ["e"]);
    }

    #[test]
    fn a_lost_parent_costs_only_itself() {
        assert_eq!(grown(&[(None, "a"), (Some("lost"), "c")]), ["a", "c"]);
    }
}
