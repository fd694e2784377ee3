//! What is wrong with a configuration, and where.
use std::fmt::Write as _;
use std::path::Path;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line in the file, from 1.
    pub line: usize,
    /// Column, in characters, from 1.
    pub column: usize,
    /// The key, with its sections: `routes.destinations`. Empty for the file as a whole.
    pub key: String,
    /// What is wrong with it.
    pub message: String,
    /// What to write instead; may be empty.
    pub help: String,
}

/// The problems as lines `file:line:column: key: message`, as compilers write them, each with its help below.
pub fn render(path: &Path, problems: &[Problem]) -> String {
    let mut text = String::new();
    for problem in problems {
        let key = if problem.key.is_empty() { String::new() } else { format!("{}: ", problem.key) };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}:{}:{}: {key}{}", path.display(), problem.line, problem.column, problem.message);
        if !problem.help.is_empty() {
            let _ = writeln!(text, "    {}", problem.help);
        }
    }
    text
}

/// Line and column of a byte offset.
pub fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset.min(text.len())).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}

/// The candidate that was probably meant: at most a third of its letters differ.
pub fn meant<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(written, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().div_ceil(3))
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_lines_count_from_one() {
        assert_eq!(place("a\næø = 1", 0), (1, 1));
        assert_eq!(place("a\næø = 1", 2 + "æø ".len()), (2, 4));
    }

    #[test]
    fn a_slip_finds_the_key_that_was_meant_and_nonsense_finds_none() {
        assert_eq!(meant("ae_titel", ["listen", "ae_title"]), Some("ae_title"));
        assert_eq!(meant("password", ["listen", "ae_title"]), None);
    }
}
