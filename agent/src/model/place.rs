//! A manifest as typed: where each key stands, and which keys may not.
use super::keys;
use super::types::{Type, help_with};
use crate::config::{Problem, meant, place};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The text of a manifest and what is wrong with it so far.
pub(super) struct Manuscript<'i> {
    text: &'i str,
    table: DeTable<'i>,
    problems: Vec<Problem>,
}

impl<'i> Manuscript<'i> {
    /// Parses; the first thing that is not TOML, which makes nonsense of what follows it.
    pub fn parse(text: &'i str) -> Result<Self, Problem> {
        match DeTable::parse(text) {
            Ok(table) => Ok(Self { text, table: table.into_inner(), problems: Vec::new() }),
            Err(error) => {
                let (line, column) = place(text, error.span().map_or(0, |span| span.start));
                let message = format!("is not TOML: {}", error.message());
                Err(Problem { line, column, key: String::new(), message, help: String::new() })
            }
        }
    }

    /// False, and told, where `format` is a number that is not among these: nothing else of such a manifest is known here.
    pub fn is_of_format(&mut self, formats: &[u32]) -> bool {
        let Some(value) = self.table.get("format") else { return true };
        let number = value.get_ref().as_integer();
        let Some(number) = number.and_then(|n| u32::from_str_radix(n.as_str(), n.radix()).ok()) else { return true };
        if formats.contains(&number) {
            return true;
        }
        let known = formats.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
        let message =
            format!("format {number} is not known here: sund {} reads format {known}", env!("CARGO_PKG_VERSION"));
        let help = "take a newer sund, or have the package made in a format that is read here";
        self.tell(value.span().start, "format", message, help.to_owned());
        false
    }

    /// Tells each key that may not be there, with the one that was probably meant, each that must and is not, and each whose
    /// value is of another type.
    pub fn check_keys(&mut self) {
        let mut told = Vec::new();
        section("", &self.table, 0, &mut told);
        for (offset, key, message, help) in told {
            self.tell(offset, &key, message, help);
        }
    }

    /// Tells a problem at a path such as `networks.0.file`; the numbers count from 0 and are not shown. Where the path leads
    /// to nothing it is told at the last part that is there.
    pub fn complain(&mut self, path: &str, message: impl Into<String>, help: impl Into<String>) {
        let mut offset = 0;
        let mut table = Some(&self.table);
        let mut list: Option<&[Spanned<DeValue<'_>>]> = None;
        for part in path.split('.') {
            let next = match (table, list) {
                (Some(table), _) => table.get(part),
                (_, Some(list)) => part.parse::<usize>().ok().and_then(|n| list.get(n)),
                _ => None,
            };
            let Some(value) = next else { break };
            offset = value.span().start;
            table = value.get_ref().as_table();
            list = value.get_ref().as_array().map(|array| &**array);
        }
        let shown: Vec<&str> = path.split('.').filter(|part| part.parse::<usize>().is_err()).collect();
        self.tell(offset, &shown.join("."), message.into(), help.into());
    }

    /// Tells what serde does not take: nothing, where keys and types hold.
    pub fn complain_of(&mut self, error: &toml::de::Error) {
        self.tell(error.span().map_or(0, |span| span.start), "", error.message().to_owned(), String::new());
    }

    /// The problems, in the order of lines.
    pub fn into_problems(mut self) -> Vec<Problem> {
        self.problems.sort_by(|a, b| (a.line, a.column, &a.key).cmp(&(b.line, b.column, &b.key)));
        self.problems.dedup();
        self.problems
    }

    /// True where nothing is wrong so far.
    pub fn holds(&self) -> bool {
        self.problems.is_empty()
    }

    fn tell(&mut self, offset: usize, key: &str, message: String, help: String) {
        let (line, column) = place(self.text, offset);
        self.problems.push(Problem { line, column, key: key.to_owned(), message, help });
    }
}

type Told = Vec<(usize, String, String, String)>;

/// Checks the keys of a section and of those below it. The nesting is that of `keys::KEYS`, so it ends.
fn section(name: &str, table: &DeTable<'_>, offset: usize, told: &mut Told) {
    let step = table.get("do").and_then(|word| word.get_ref().as_str());
    let name = match (name, step) {
        ("steps", Some(word)) => format!("steps.{word}"),
        ("steps", None) => {
            let known = keys::steps().collect::<Vec<_>>().join(", ");
            told.push((offset, "steps.do".into(), "is missing".into(), format!("known steps: {known}")));
            return;
        }
        (name, _) => name.to_owned(),
    };
    let Some(keys) = keys::of(&name) else {
        let word = step.unwrap_or_default();
        let at = table.get("do").map_or(offset, |word| word.span().start);
        told.push((at, "steps.do".into(), format!("there is no step `{word}`"), help_with(word, keys::steps())));
        return;
    };
    // A step is shown as `steps.dims`, its kind stands beside it.
    let shown = if name.starts_with("steps.") { "steps" } else { name.as_str() };
    let full = |key: &str| if shown.is_empty() { key.to_owned() } else { format!("{shown}.{key}") };
    for (written, value) in table {
        let (at, name) = (written.span().start, written.get_ref().as_ref());
        let Some(key) = keys.find(name) else {
            told.push((at, full(name), "there is no such key".into(), help_with(name, keys.all())));
            continue;
        };
        if let Err((message, help)) = key.value.check(value.get_ref()) {
            told.push((value.span().start, full(name), message, help));
            continue;
        }
        let below = full(name);
        match (key.value, value.get_ref()) {
            (Type::Section, DeValue::Table(table)) => section(&below, table, value.span().start, told),
            (Type::Sections, DeValue::Array(list)) => {
                for entry in list {
                    if let Some(table) = entry.get_ref().as_table() {
                        section(&below, table, entry.span().start, told);
                    }
                }
            }
            _ => {}
        }
    }
    for key in keys.required().filter(|key| table.get(key.name).is_none()) {
        // A slip that is told above is not told again as missing.
        let is_slip = table.keys().any(|written| {
            let written = written.get_ref().as_ref();
            keys.find(written).is_none() && meant(written, keys.all()) == Some(key.name)
        });
        if !is_slip {
            told.push((offset, full(key.name), "is missing".into(), String::new()));
        }
    }
}
