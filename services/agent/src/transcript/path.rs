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
            Some(parent) => self.position(parent).map_or(self.0.len(), |at| at + 1),
        };
        let left = self.0.split_off(keep);
        self.0.push_back((id.into(), value));
        left.into_iter().map(|(_, value)| value).collect()
    }

    /// Leaves what follows an entry, and hands it back. An id that is not on the path changes nothing.
    pub fn rewind(&mut self, id: &str) -> Vec<T> {
        let Some(at) = self.position(id) else {
            return Vec::new();
        };
        let left = self.0.split_off(at + 1);
        left.into_iter().map(|(_, value)| value).collect()
    }

    /// Where an entry stands, counted from the oldest.
    pub fn position(&self, id: &str) -> Option<usize> {
        self.0.iter().rposition(|(known, _)| known == id)
    }

    /// Id of the entry at a place counted from the oldest.
    pub fn id(&self, at: usize) -> Option<&str> {
        self.0.get(at).map(|(id, _)| id.as_str())
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

    pub fn iter_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut T> + ExactSizeIterator {
        self.0.iter_mut().map(|(_, value)| value)
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
    fn going_back_leaves_what_came_after() {
        let mut path = Path::default();
        for (parent, id) in [(None, 1), (Some("1"), 2), (Some("2"), 3)] {
            path.grow(parent, &id.to_string(), id);
        }
        assert!(path.rewind("9").is_empty());
        assert_eq!((path.rewind("1"), path.leaf()), (vec![2, 3], Some("1")));
        assert!(path.rewind("1").is_empty());
    }

    #[test]
    fn a_lost_parent_costs_only_itself() {
        assert_eq!(grown(&[(None, "a"), (Some("lost"), "c")]), ["a", "c"]);
    }
}
