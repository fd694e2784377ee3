//! What a configuration says, for whoever signs it: line by line what changes against the one before, and all of it where there
//! is none. Its text may come from a thief: each line stands behind a mark of ours, and is folded before a terminal would fold it.
use super::super::limits::{MAX_LINES_COMPARED, MAX_LINES_TOLD};
use sund_ota::fault::{Blame, Fault};

/// So many columns of a line stand in one line of ours: with the mark they fit into 80.
const COLUMNS: usize = 64;
/// So many lines around a change are told.
const AROUND: usize = 3;

/// How a line fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Stays,
    Goes,
    Comes,
}

pub(super) fn tell(old: Option<&[u8]>, new: &[u8], tell: &mut impl FnMut(String)) -> Result<(), Fault> {
    let (old, new) = (old.map(lines_of).transpose()?, lines_of(new)?);
    let all = difference(old.as_deref().unwrap_or_default(), &new);
    let changes: Vec<usize> = (0..all.len()).filter(|at| all[*at].0 != Mark::Stays).collect();
    let is_near = |at: usize| {
        let next = changes.partition_point(|change| *change < at);
        let near = changes.get(next).into_iter().chain(next.checked_sub(1).and_then(|before| changes.get(before)));
        near.into_iter().any(|change| change.abs_diff(at) <= AROUND)
    };
    let (mut told, mut passed) = (0, 0);
    for (at, (mark, line)) in all.iter().enumerate() {
        if !is_near(at) {
            passed += 1;
            continue;
        }
        if told >= MAX_LINES_TOLD {
            let reason = format!(
                "more than {MAX_LINES_TOLD} lines of it change, which nobody reads to the end: change less of it at once"
            );
            return Err(Fault::new("proposal-invalid", Blame::Region, reason));
        }
        pass(&mut passed, tell);
        for (n, piece) in folded(line).into_iter().enumerate() {
            let mark = match mark {
                Mark::Stays => ' ',
                Mark::Goes => '-',
                Mark::Comes => '+',
            };
            tell(format!("{mark}{} {piece}", if n == 0 { '|' } else { ':' }));
            told += 1;
        }
    }
    pass(&mut passed, tell);
    Ok(())
}

fn pass(passed: &mut usize, tell: &mut impl FnMut(String)) {
    match std::mem::take(passed) {
        0 => {}
        1 => tell("(1 line as before)".to_owned()),
        many => tell(format!("({many} lines as before)")),
    }
}

fn lines_of(bytes: &[u8]) -> Result<Vec<&str>, Fault> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        Fault::new("proposal-invalid", Blame::Region, format!("it is no text ({error}), and no box would take it"))
    })?;
    Ok(text.split_inclusive('\n').collect())
}

/// A line in pieces that no terminal folds. Letters beyond ASCII may be two columns wide.
fn folded(line: &str) -> Vec<String> {
    let (mut pieces, mut columns) = (vec![String::new()], 0);
    for letter in line.strip_suffix('\n').unwrap_or(line).chars() {
        let wide = if letter.is_ascii() { 1 } else { 2 };
        if columns + wide > COLUMNS {
            pieces.push(String::new());
            columns = 0;
        }
        columns += wide;
        if let Some(piece) = pieces.last_mut() {
            piece.push(letter);
        }
    }
    pieces
}

/// The lines of both, those that stay once: the longest common subsequence, where the lines that differ are not too many to look
/// for it; all of the old ones and all of the new ones otherwise.
fn difference<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<(Mark, &'a str)> {
    let is_same = |(old, new): &(&&str, &&str)| old == new;
    let ahead = old.iter().zip(new).take_while(is_same).count();
    let (old, new, first) = (&old[ahead..], &new[ahead..], &new[..ahead]);
    let behind = old.iter().rev().zip(new.iter().rev()).take_while(is_same).count();
    let (old, new, last) = (&old[..old.len() - behind], &new[..new.len() - behind], &new[new.len() - behind..]);
    let mut all: Vec<(Mark, &str)> = first.iter().map(|line| (Mark::Stays, *line)).collect();
    if old.len().max(new.len()) <= MAX_LINES_COMPARED {
        // lengths[i][j]: how many lines old[i..] and new[j..] have in common.
        let mut lengths = vec![vec![0_u16; new.len() + 1]; old.len() + 1];
        for i in (0..old.len()).rev() {
            for j in (0..new.len()).rev() {
                lengths[i][j] =
                    if old[i] == new[j] { lengths[i + 1][j + 1] + 1 } else { lengths[i + 1][j].max(lengths[i][j + 1]) };
            }
        }
        let (mut i, mut j) = (0, 0);
        while i < old.len() || j < new.len() {
            if i < old.len() && j < new.len() && old[i] == new[j] {
                all.push((Mark::Stays, new[j]));
                (i, j) = (i + 1, j + 1);
            } else if i < old.len() && (j == new.len() || lengths[i + 1][j] >= lengths[i][j + 1]) {
                all.push((Mark::Goes, old[i]));
                i += 1;
            } else {
                all.push((Mark::Comes, new[j]));
                j += 1;
            }
        }
    } else {
        all.extend(old.iter().map(|line| (Mark::Goes, *line)));
        all.extend(new.iter().map(|line| (Mark::Comes, *line)));
    }
    all.extend(last.iter().map(|line| (Mark::Stays, *line)));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(old: Option<&str>, new: &str) -> String {
        let mut lines = Vec::new();
        tell(old.map(str::as_bytes), new.as_bytes(), &mut |line| lines.push(line)).unwrap();
        lines.join("\n")
    }

    #[test]
    fn what_changes_is_told_with_what_stands_around_it() {
        assert_eq!(told(None, "a\nb\n"), "+| a\n+| b");
        let old = "1\n2\n3\n4\n5\n6\n7\nx\n8\n9\n";
        let new = "1\n2\n3\n4\n5\n6\n7\ny\nz\n8\n9\n";
        let expected = "(4 lines as before)\n | 5\n | 6\n | 7\n-| x\n+| y\n+| z\n | 8\n | 9";
        assert_eq!(told(Some(old), new), expected);
        assert_eq!(told(Some("a\nb\nc"), "c\n"), "-| a\n-| b\n-| c\n+| c", "the end of the last line is a change");
    }

    #[test]
    fn what_is_kept_and_what_goes_makes_the_old_and_what_is_kept_and_comes_the_new() {
        let (old, new) = (["a", "b", "c", "a", "b", "b", "a"], ["c", "b", "a", "b", "a", "c"]);
        for (old, new) in [(&old[..], &new[..]), (&[], &new[..]), (&old[..], &[]), (&new[..], &old[..])] {
            let all = difference(old, new);
            let without = |mark| all.iter().filter(|(it, _)| *it != mark).map(|(_, line)| *line).collect::<Vec<_>>();
            assert_eq!((without(Mark::Comes), without(Mark::Goes)), (old.to_vec(), new.to_vec()));
        }
        let common = difference(&old, &new).iter().filter(|(mark, _)| *mark == Mark::Stays).count();
        assert_eq!(common, 4);
    }

    #[test]
    fn a_long_line_is_folded_behind_marks_of_ours_and_an_endless_change_is_refused() {
        let line = format!("{}{}", "a".repeat(COLUMNS), "å".repeat(COLUMNS));
        let told = told(None, &line);
        let pieces: Vec<&str> = told.lines().collect();
        assert_eq!(pieces.len(), 3);
        assert!(pieces[0].starts_with("+| a") && pieces[1..].iter().all(|piece| piece.starts_with("+: å")), "{told}");
        let endless = "x\n".repeat(MAX_LINES_TOLD + 1);
        assert_eq!(tell(None, endless.as_bytes(), &mut |_| {}).unwrap_err().code, "proposal-invalid");
    }
}
