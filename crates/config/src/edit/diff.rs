//! What changed between two texts, for a person to read. Secrets are shown as `***`, so that a diff can be printed.

use clawdbot_identity::text::sanitize_line;

use crate::mask;

/// Unchanged lines around a change.
const CONTEXT: usize = 3;
/// The largest table of lines against lines. What needs a larger one is shown as a whole.
const MAX_CELLS: usize = 4_000_000;

/// What changes from `before` to `after`, as a unified diff with secrets shown as `***`. Empty when nothing does.
pub fn diff(name: &str, before: &str, after: &str) -> String {
    if before == after {
        return String::new();
    }
    let (old, new) = (Lines::of(before), Lines::of(after));
    let steps = steps(&old.real, &new.real);
    let mut out = format!("--- {0}\n+++ {0}\n", sanitize_line(name));
    let changed = |step: &Step| !matches!(step, Step::Same(..));
    let mut at = 0;
    while let Some(first) = steps[at..].iter().position(changed).map(|next| at + next) {
        // A hunk goes on while the next change is near enough to share its context.
        let mut last = first;
        while let Some(next) = steps[last + 1..].iter().position(changed)
            && next <= 2 * CONTEXT
        {
            last += next + 1;
        }
        let hunk =
            &steps[first.saturating_sub(CONTEXT).max(at)..steps.len().min(last + 1 + CONTEXT)];
        out.push_str(&header(hunk));
        for step in hunk {
            let (sign, line) = match step {
                Step::Same(_, new_at) => (' ', new.shown(*new_at)),
                Step::Gone(old_at, _) => ('-', old.shown(*old_at)),
                Step::Added(_, new_at) => ('+', new.shown(*new_at)),
            };
            out.push(sign);
            out.push_str(line);
            out.push('\n');
        }
        at = last + 1;
    }
    out
}

/// A text by lines: as they are, and as they may be shown.
struct Lines<'a> {
    real: Vec<&'a str>,
    shown: Vec<String>,
}

impl<'a> Lines<'a> {
    fn of(text: &'a str) -> Self {
        Self {
            real: text.split_inclusive('\n').collect(),
            shown: mask::masked(text)
                .lines()
                .map(|line| sanitize_line(line).into_owned())
                .collect(),
        }
    }

    fn shown(&self, at: usize) -> &str {
        self.shown.get(at).map_or("", String::as_str)
    }
}

/// One line, with the places in the old and the new text.
enum Step {
    Same(usize, usize),
    Gone(usize, usize),
    Added(usize, usize),
}

fn header(hunk: &[Step]) -> String {
    let (mut old, mut new) = (0, 0);
    for step in hunk {
        match step {
            Step::Same(..) => (old, new) = (old + 1, new + 1),
            Step::Gone(..) => old += 1,
            Step::Added(..) => new += 1,
        }
    }
    let (Step::Same(a, b) | Step::Gone(a, b) | Step::Added(a, b)) = &hunk[0];
    // A side without lines is named by the line before it.
    let from = |at: &usize, count: usize| at + usize::from(count > 0);
    format!("@@ -{},{old} +{},{new} @@\n", from(a, old), from(b, new))
}

/// The lines of both texts in an order in which the longest common part stays.
fn steps(old: &[&str], new: &[&str]) -> Vec<Step> {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let tails = old[head..].iter().rev().zip(new[head..].iter().rev());
    let tail = tails.take_while(|(a, b)| a == b).count();
    let (rows, columns) = (old.len() - head - tail, new.len() - head - tail);
    let (middle_old, middle_new) = (&old[head..head + rows], &new[head..head + columns]);
    let mut steps: Vec<_> = (0..head).map(|at| Step::Same(at, at)).collect();
    let (mut a, mut b) = (0, 0);
    if rows.saturating_mul(columns) <= MAX_CELLS {
        // Length of the longest common part of the two rests, from the end.
        let width = columns + 1;
        let mut common = vec![0u32; (rows + 1) * width];
        for i in (0..rows).rev() {
            for j in (0..columns).rev() {
                common[i * width + j] = match middle_old[i] == middle_new[j] {
                    true => common[(i + 1) * width + j + 1] + 1,
                    false => common[(i + 1) * width + j].max(common[i * width + j + 1]),
                };
            }
        }
        while a < rows && b < columns {
            let (i, j) = (head + a, head + b);
            if middle_old[a] == middle_new[b] {
                steps.push(Step::Same(i, j));
                (a, b) = (a + 1, b + 1);
            } else if common[(a + 1) * width + b] >= common[a * width + b + 1] {
                steps.push(Step::Gone(i, j));
                a += 1;
            } else {
                steps.push(Step::Added(i, j));
                b += 1;
            }
        }
    }
    steps.extend((a..rows).map(|a| Step::Gone(head + a, head + b)));
    steps.extend((b..columns).map(|b| Step::Added(head + rows, head + b)));
    let same = (0..tail).map(|at| Step::Same(head + rows + at, head + columns + at));
    steps.extend(same);
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_shown_with_three_lines_around_it() {
        let before = "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n13\n14\n15\n";
        let after = before
            .replace("\n2\n", "\n2\n2b\n")
            .replace("\n13\n", "\n13b\n");
        assert_eq!(
            diff("c.json", before, &after),
            "--- c.json\n+++ c.json\n@@ -1,5 +1,6 @@\n 1\n 2\n+2b\n 3\n 4\n 5\n\
             @@ -10,6 +11,6 @@\n 10\n 11\n 12\n-13\n+13b\n 14\n 15\n"
        );
        assert_eq!(diff("c.json", before, before), "");
        assert_eq!(
            diff("c.json", "", "{}\n"),
            "--- c.json\n+++ c.json\n@@ -0,0 +1,1 @@\n+{}\n"
        );
    }

    #[test]
    fn a_diff_shows_no_secret_and_no_control_character() {
        let old = "{\n  gateway: { auth: { token: 'hunter2hunter2' } }, // \u{1b}[2J\n}\n";
        let shown = diff("c", old, &old.replace("hunter2hunter2", "another-secret"));
        assert!(
            !shown.contains("hunter2") && !shown.contains("another"),
            "{shown}"
        );
        assert!(
            shown.contains("-  gateway: { auth: { token: '***' } }"),
            "{shown}"
        );
        assert!(!shown.contains('\u{1b}'));
    }

    #[test]
    fn two_texts_without_a_common_line_are_shown_whole() {
        let many = |letter: &str| {
            let lines: Vec<_> = (0..3000).map(|at| format!("{letter}{at}\n")).collect();
            lines.concat()
        };
        let shown = diff("c", &many("a"), &many("b"));
        assert_eq!(shown.lines().count(), 2 + 1 + 6000);
    }
}
