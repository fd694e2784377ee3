//! The file as typed: sections with their keys and places. Reading goes on after a problem, so that all are told at once.
use super::problem::{Problem, meant, place};
use super::value::{Complaint, Value};
use crate::limits::config::MAX_ENTRIES;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A file that is being read.
pub(super) struct Document<'i> {
    text: &'i str,
    /// Relative paths in the file are relative to it.
    folder: PathBuf,
    problems: RefCell<Vec<Problem>>,
    /// What keeps only a configuration that is new from serving.
    doubts: RefCell<Vec<Problem>>,
    /// Files and directories that were named.
    named: RefCell<BTreeSet<PathBuf>>,
}

impl<'i> Document<'i> {
    /// The document and its table; the first thing that is not TOML, which makes nonsense of what follows it.
    pub fn parse(text: &'i str, folder: &Path) -> Result<(Self, DeTable<'i>), Problem> {
        let table = DeTable::parse(text).map_err(|error| {
            let (line, column) = place(text, error.span().map_or(0, |span| span.start));
            let message = format!("is not TOML: {}", error.message());
            Problem { line, column, key: String::new(), message, help: String::new() }
        })?;
        let document = Self {
            text,
            folder: folder.to_owned(),
            problems: RefCell::default(),
            doubts: RefCell::default(),
            named: RefCell::default(),
        };
        Ok((document, table.into_inner()))
    }

    /// Files and directories that were named, relative ones joined to the file's folder.
    pub fn named(&self) -> BTreeSet<PathBuf> {
        self.named.borrow().clone()
    }

    /// What keeps only a configuration that is new from serving, in the order of the checks.
    pub fn doubts(&self) -> Vec<Problem> {
        self.doubts.borrow().clone()
    }

    /// The problems, in the order of lines.
    pub fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by(|a, b| (a.line, a.column, &a.key).cmp(&(b.line, b.column, &b.key)));
        problems.dedup();
        problems
    }

    fn tell(&self, offset: usize, key: &str, message: &str, help: &str) {
        self.problems.borrow_mut().push(self.problem(offset, key, message, help));
    }

    fn problem(&self, offset: usize, key: &str, message: &str, help: &str) -> Problem {
        let (line, column) = place(self.text, offset);
        Problem { line, column, key: key.to_owned(), message: message.to_owned(), help: help.to_owned() }
    }
}

/// One section: a table and the keys that it may have.
pub(super) struct Section<'d, 'i> {
    document: &'d Document<'i>,
    path: &'static str,
    table: &'d DeTable<'i>,
    offset: usize,
}

impl<'d, 'i> Section<'d, 'i> {
    /// The whole file.
    pub fn root(document: &'d Document<'i>, table: &'d DeTable<'i>) -> Self {
        Self::open(document, "", table, 0)
    }

    /// Keys that the section may not have are told here, with the key that was probably meant.
    fn open(document: &'d Document<'i>, path: &'static str, table: &'d DeTable<'i>, offset: usize) -> Self {
        let section = Self { document, path, table, offset };
        let keys = super::keys::of(path);
        for key in table.keys() {
            if !keys.contains(&key.get_ref().as_ref()) {
                let what = if path.is_empty() { "section" } else { "key" };
                let help = match meant(key.get_ref(), keys.iter().copied()) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => format!("known here: {}", keys.join(", ")),
                };
                let message = format!("there is no such {what}");
                document.tell(key.span().start, &section.name(key.get_ref()), &message, &help);
            }
        }
        section
    }

    /// A value; `None` where it is missing or wrong.
    pub fn value<T: Value>(&self, key: &'static str) -> Option<T> {
        let value = self.entry(key)?;
        match T::read(value) {
            Ok(value) => Some(value),
            Err(complaint) => {
                self.tell(key, complaint);
                None
            }
        }
    }

    /// A value, or this one where it is missing.
    pub fn value_or<T: Value>(&self, key: &'static str, default: T) -> T {
        self.value(key).unwrap_or(default)
    }

    /// A value that must be there.
    pub fn require<T: Value>(&self, key: &'static str) -> Option<T> {
        if self.entry(key).is_none() {
            self.complain_here(key, "is missing", T::EXAMPLE);
        }
        self.value(key)
    }

    /// A path, relative to the file.
    pub fn path(&self, key: &'static str) -> Option<PathBuf> {
        let path = self.document.folder.join(self.value::<PathBuf>(key)?);
        self.document.named.borrow_mut().insert(path.clone());
        Some(path)
    }

    /// A section below this one.
    pub fn section(&self, key: &'static str, path: &'static str) -> Option<Section<'d, 'i>> {
        let value = self.entry(key)?;
        match value.get_ref() {
            DeValue::Table(table) => Some(Self::open(self.document, path, table, value.span().start)),
            _ => {
                self.complain(key, "is not a section", &format!("write [{path}] on a line of its own"));
                None
            }
        }
    }

    /// Sections of one kind: `[[path]]`.
    pub fn sections(&self, key: &'static str, path: &'static str) -> Vec<Section<'d, 'i>> {
        let Some(value) = self.entry(key) else { return Vec::new() };
        let Some(entries) = value.get_ref().as_array() else {
            self.complain(key, "is not a list of sections", &format!("write [[{path}]] above each of them"));
            return Vec::new();
        };
        if entries.len() > MAX_ENTRIES {
            self.complain(key, &format!("there are more than {MAX_ENTRIES}"), "");
        }
        let mut sections = Vec::new();
        for entry in entries.iter().take(MAX_ENTRIES) {
            match entry.get_ref() {
                DeValue::Table(table) => sections.push(Self::open(self.document, path, table, entry.span().start)),
                _ => self.document.tell(entry.span().start, path, "is not a section", ""),
            }
        }
        sections
    }

    /// A section below this one that was read before: its keys are not told again.
    pub fn section_quietly(&self, key: &str, path: &'static str) -> Option<Section<'d, 'i>> {
        let value = self.entry(key)?;
        let table = value.get_ref().as_table()?;
        Some(Self { document: self.document, path, table, offset: value.span().start })
    }

    /// Sections of one kind that were read before.
    pub fn sections_quietly(&self, key: &str, path: &'static str) -> Vec<Section<'d, 'i>> {
        let entries = self.entry(key).and_then(|value| value.get_ref().as_array());
        let tables = entries.into_iter().flatten().filter_map(|entry| Some((entry, entry.get_ref().as_table()?)));
        tables.map(|(entry, table)| Self { document: self.document, path, table, offset: entry.span().start }).collect()
    }

    /// The value as typed.
    pub fn entry(&self, key: &str) -> Option<&'d Spanned<DeValue<'i>>> {
        self.table.get(key)
    }

    /// Tells a problem at a key, or at the section's head where the key is missing.
    pub fn complain(&self, key: &str, message: &str, help: &str) {
        let offset = self.entry(key).map_or(self.offset, |value| value.span().start);
        self.document.tell(offset, &self.name(key), message, help);
    }

    /// Tells what keeps only a configuration that is new from serving: one that serves already goes on, and it is said.
    pub fn doubt(&self, key: &str, message: &str, help: &str) {
        let offset = self.entry(key).map_or(self.offset, |value| value.span().start);
        let doubt = self.document.problem(offset, &self.name(key), message, help);
        self.document.doubts.borrow_mut().push(doubt);
    }

    /// Tells a problem at a place within a key's value.
    pub fn complain_at(&self, offset: usize, key: &str, message: &str, help: &str) {
        self.document.tell(offset, &self.name(key), message, help);
    }

    fn complain_here(&self, key: &str, message: &str, help: &str) {
        self.document.tell(self.offset, &self.name(key), message, help);
    }

    fn tell(&self, key: &str, complaint: Complaint) {
        self.document.tell(complaint.offset, &self.name(key), &complaint.message, &complaint.help);
    }

    fn name(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}
