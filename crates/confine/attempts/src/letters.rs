//! Cells of a matrix: a letter for each outcome, and names that stand upright above their columns.

/// Letters of outcomes, and what each means; any other answer is [`OTHER`].
pub const LETTERS: &[(&str, char, &str)] = &[
    ("killed", 'K', "the filter ended the process (SIGSYS)"),
    ("EPERM", 'P', "answered EPERM"),
    ("EACCES", 'A', "answered EACCES"),
    (
        "ENOSYS",
        'N',
        "answered ENOSYS, as if the kernel had no such call",
    ),
    ("worked", '+', "worked, by design"),
];

/// The letter of all other answers, and what it means.
pub const OTHER: (char, &str) = ('E', "answered with another error, which the table names");

/// An outcome's letter.
#[must_use]
pub fn letter(outcome: &str) -> char {
    let known = LETTERS.iter().find(|(word, ..)| *word == outcome);
    known.map_or(OTHER.0, |(_, letter, _)| *letter)
}

/// Names upright, one line of letters after the other, two spaces before each letter.
#[must_use]
pub fn upright(names: &[&str]) -> Vec<String> {
    let length = |name: &&str| name.chars().count();
    let tall = names.iter().map(length).max().unwrap_or(0);
    let line = |row: usize| {
        let letters = names.iter().map(|name| {
            let above = tall - length(name);
            let letter = row.checked_sub(above).and_then(|at| name.chars().nth(at));
            format!("  {}", letter.unwrap_or(' '))
        });
        letters.collect::<String>().trim_end().to_owned()
    };
    (0..tall).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_end_above_their_columns() {
        assert_eq!(upright(&["ab", "c"]), ["  a", "  b  c"]);
        assert_eq!((letter("killed"), letter("EROFS")), ('K', 'E'));
    }
}
