//! What a peer says about a result, without whom it names: it goes into logs, tickets and the audit's open part.
use crate::privacy::Private;

/// So many digits in one token, points among them, are a date, a number of somebody, or a UID.
const DIGITS: usize = 8;
/// What stands for what was left out.
const LEFT_OUT: &str = "…";

/// How UIDs begin that the standard itself gives, which name nobody.
const STANDARD: &str = "1.2.840.10008.";

/// The text without the words of the identifiers, in whatever order and case, and without long numbers and UIDs but the
/// standard's own.
pub fn without_identifiers<'a>(text: &str, identifiers: impl Iterator<Item = &'a Private<String>>) -> String {
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '.';
    let names: Vec<String> = identifiers
        .flat_map(|text| text.reveal().split(|letter| !is_part(letter)))
        .filter(|word| word.chars().nth(1).is_some())
        .map(str::to_lowercase)
        .collect();
    let mut quoted = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (part, behind) = rest.split_at(rest.find(|c| is_part(c) != is_part(first)).unwrap_or(rest.len()));
        let word = part.trim_end_matches('.').to_lowercase();
        let digits = part.bytes().filter(u8::is_ascii_digit).count();
        let names_somebody = digits >= DIGITS && !part.starts_with(STANDARD) || names.contains(&word);
        quoted.push_str(if names_somebody { LEFT_OUT } else { part });
        rest = behind;
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peers_words_are_quoted_without_whom_they_name() {
        let whose = ["Sørensen^Åse", "PID-77QX", "19470823", "ACC.7"].map(|text| Private::new(text.to_owned()));
        for (said, quoted) in [
            ("status C000H: no patient PID-77QX (SØRENSEN, Åse)", "status C000H: no patient …-… (…, …)"),
            ("status 0110H: born 19470823? accession ACC.7.", "status 0110H: born …? accession …"),
            (
                "status A900H: 2.25.1234567 is not 1.2.840.10008.5.1.4.1.1.7",
                "status A900H: … is not 1.2.840.10008.5.1.4.1.1.7",
            ),
            ("status C001H: a pidgin", "status C001H: a pidgin"),
        ] {
            assert_eq!(without_identifiers(said, whose.iter()), quoted);
        }
        assert_eq!(without_identifiers("", whose.iter()), "");
    }
}
