//! Reads tables of a TOML file and notes what is wrong, with the line.

use super::error::Mistake;
use super::text::{all_of, nearest};
use std::cell::RefCell;
use std::ops::{Range, RangeInclusive};
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A file that is being read, and the mistakes found so far.
pub(super) struct Reader<'a> {
    file: &'a Path,
    text: &'a str,
    mistakes: RefCell<Vec<Mistake>>,
}

/// A table of the file, such as `[vm.net]`.
pub(super) struct Section<'a> {
    reader: &'a Reader<'a>,
    title: &'static str,
    place: Range<usize>,
    table: &'a DeTable<'a>,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Found<T> {
    /// The value.
    pub(super) value: T,
    /// Its line, from 1.
    pub(super) line: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(file: &'a Path, text: &'a str) -> Self {
        Self {
            file,
            text,
            mistakes: RefCell::default(),
        }
    }

    /// The line that the byte at `offset` is in, from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        let before = self.text.bytes().take(offset);
        before.filter(|byte| *byte == b'\n').count() + 1
    }

    /// Notes a mistake; `line` `None` is the whole file.
    pub(super) fn mistake(
        &self,
        line: Option<usize>,
        found: impl Into<String>,
        expected: impl Into<String>,
        write: impl Into<String>,
    ) {
        let mistake = Mistake {
            file: self.file.to_owned(),
            line,
            found: found.into(),
            expected: expected.into(),
            write: write.into(),
        };
        let mut mistakes = self.mistakes.borrow_mut();
        if !mistakes.contains(&mistake) {
            mistakes.push(mistake);
        }
    }

    /// Adds mistakes that somebody else found.
    pub(super) fn add(&self, mistakes: Vec<Mistake>) {
        self.mistakes.borrow_mut().extend(mistakes);
    }

    /// The mistakes, in the order of their lines.
    pub(super) fn into_mistakes(self) -> Vec<Mistake> {
        let mut mistakes = self.mistakes.into_inner();
        mistakes.sort_by_key(|mistake| mistake.line);
        mistakes
    }

    /// The file's outermost table.
    pub(super) fn root(&'a self, table: &'a Spanned<DeTable<'a>>) -> Section<'a> {
        Section {
            reader: self,
            title: "the file",
            place: 0..0,
            table: table.get_ref(),
        }
    }
}

impl<'a> Section<'a> {
    /// The line where the section starts.
    pub(super) fn line(&self) -> usize {
        self.reader.line(self.place.start)
    }

    /// Notes a mistake at `line`.
    pub(super) fn mistake(
        &self,
        line: usize,
        found: impl Into<String>,
        expected: impl Into<String>,
        write: impl Into<String>,
    ) {
        self.reader.mistake(Some(line), found, expected, write);
    }

    /// Whether the section has `key`, right or wrong.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// The line of `key`'s value.
    pub(super) fn line_of(&self, key: &str) -> Option<usize> {
        Some(self.value(key)?.1)
    }

    /// Notes that `key` is missing, unless it is there and wrong, which has been noted already.
    pub(super) fn missing(&self, key: &str, expected: &str, example: &str) {
        if !self.has(key) {
            let found = format!("no `{key}` in {}", self.title);
            self.mistake(self.line(), found, expected, format!("`{example}`"));
        }
    }

    /// Notes each key that is not one of `known`.
    pub(super) fn only(&self, known: &[&str]) {
        for key in self.table.keys() {
            let name: &str = key.get_ref();
            if known.contains(&name) {
                continue;
            }
            let write = match nearest(name, known) {
                Some(near) => format!("`{near}`"),
                None => "nothing in its place".to_owned(),
            };
            let line = self.reader.line(key.span().start);
            let expected = if known.is_empty() {
                format!("no keys in {}", self.title)
            } else {
                format!("in {} only {}", self.title, all_of(known))
            };
            self.mistake(line, format!("the key `{name}`"), expected, write);
        }
    }

    /// The text of `key`.
    pub(super) fn text(&self, key: &str, example: &str) -> Option<Found<String>> {
        let (value, line) = self.value(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some(Found {
                value: text.to_string(),
                line,
            }),
            _ => self.wrong_type(key, value, "text in quotes", example),
        }
    }

    /// The texts of `key`.
    pub(super) fn texts(&self, key: &str, example: &str) -> Option<Found<Vec<String>>> {
        let (value, line) = self.value(key)?;
        let texts = value.get_ref().as_array().and_then(|array| {
            let texts = array
                .iter()
                .map(|item| item.get_ref().as_str().map(str::to_owned));
            texts.collect::<Option<Vec<String>>>()
        });
        match texts {
            Some(value) => Some(Found { value, line }),
            None => self.wrong_type(key, value, "a list of texts", example),
        }
    }

    /// The truth value of `key`.
    pub(super) fn boolean(&self, key: &str) -> Option<bool> {
        let (value, _) = self.value(key)?;
        match value.get_ref() {
            DeValue::Boolean(value) => Some(*value),
            _ => self.wrong_type(key, value, "true or false", &format!("{key} = true")),
        }
    }

    /// The number of `key`, which must lie in `range`.
    pub(super) fn number(
        &self,
        key: &str,
        range: RangeInclusive<u32>,
        why: &str,
        example: u32,
    ) -> Option<Found<u32>> {
        let (value, line) = self.value(key)?;
        let example = format!("{key} = {example}");
        let expected = if range.start() == range.end() {
            format!("{}{why}", range.start())
        } else {
            format!("a number from {} to {}{why}", range.start(), range.end())
        };
        let DeValue::Integer(number) = value.get_ref() else {
            return self.wrong_type(key, value, &expected, &example);
        };
        let parsed = u32::from_str_radix(number.as_str(), number.radix());
        match parsed {
            Ok(value) if range.contains(&value) => Some(Found { value, line }),
            _ => self.wrong_type(key, value, &expected, &example),
        }
    }

    /// The table `key` in this one; `title` is how it is written.
    pub(super) fn section(&self, key: &str, title: &'static str) -> Option<Section<'a>> {
        let (value, _) = self.value(key)?;
        match value.get_ref() {
            DeValue::Table(table) => Some(Section {
                reader: self.reader,
                title,
                place: value.span(),
                table,
            }),
            _ => self.wrong_type(key, value, &format!("a section {title}"), title),
        }
    }

    /// The tables of the list `key`; `title` is how one is written.
    pub(super) fn sections(&self, key: &str, title: &'static str) -> Vec<Section<'a>> {
        let Some((value, _)) = self.value(key) else {
            return Vec::new();
        };
        let tables = value.get_ref().as_array().and_then(|array| {
            let tables = array
                .iter()
                .map(|item| Some((item.span(), item.get_ref().as_table()?)));
            tables.collect::<Option<Vec<_>>>()
        });
        let Some(tables) = tables else {
            self.wrong_type::<()>(key, value, &format!("sections {title}"), title);
            return Vec::new();
        };
        let section = |(place, table)| Section {
            reader: self.reader,
            title,
            place,
            table,
        };
        tables.into_iter().map(section).collect()
    }

    fn value(&self, key: &str) -> Option<(&'a Spanned<DeValue<'a>>, usize)> {
        let value = self.table.get(key)?;
        Some((value, self.reader.line(value.span().start)))
    }

    fn wrong_type<T>(
        &self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        expected: &str,
        example: &str,
    ) -> Option<T> {
        let written = self.reader.text.get(value.span()).unwrap_or_default();
        let written = written.lines().next().unwrap_or_default();
        let found = if value.get_ref().is_table() && written.starts_with('[') {
            format!("one section {written}")
        } else {
            format!("`{key} = {written}`")
        };
        let line = self.reader.line(value.span().start);
        self.mistake(line, found, expected, format!("`{example}`"));
        None
    }
}
