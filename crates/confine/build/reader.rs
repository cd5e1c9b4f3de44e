//! The TOML of one file, with the line of everything that is read.

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::{FOLDER, Mistake, names};

pub(super) struct Reader<'a> {
    name: &'a str,
    text: &'a str,
}

impl<'a> Reader<'a> {
    pub(super) fn new(name: &'a str, text: &'a str) -> Self {
        Self { name, text }
    }

    pub(super) fn document(&self) -> Result<Spanned<DeTable<'a>>, Mistake> {
        DeTable::parse(self.text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            Mistake::new(self.at(offset), error.message())
        })
    }

    /// File and line of an offset.
    fn at(&self, offset: usize) -> String {
        let before = self.text.get(..offset).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        format!("{FOLDER}/{}.toml:{line}", self.name)
    }

    fn wanted<T>(&self, value: &Spanned<DeValue<'_>>, wanted: &str) -> Result<T, Mistake> {
        let message = format!("{wanted} is needed here");
        Err(Mistake::new(self.at(value.span().start), message))
    }

    pub(super) fn unknown(&self, key: &Spanned<DeString<'_>>, known: &[&str]) -> Mistake {
        let message = names::unknown("key", key.get_ref(), known.iter().copied());
        Mistake::new(self.at(key.span().start), message)
    }

    pub(super) fn table<'b>(
        &self,
        value: &'b Spanned<DeValue<'a>>,
    ) -> Result<&'b DeTable<'a>, Mistake> {
        match value.get_ref() {
            DeValue::Table(table) => Ok(table),
            _ => self.wanted(value, "a table"),
        }
    }

    /// Strings with their file and line.
    pub(super) fn strings(
        &self,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<Vec<(String, String)>, Mistake> {
        let DeValue::Array(array) = value.get_ref() else {
            return self.wanted(value, "an array of strings");
        };
        array
            .iter()
            .map(|item| match item.get_ref() {
                DeValue::String(text) => Ok((text.to_string(), self.at(item.span().start))),
                _ => self.wanted(item, "a string"),
            })
            .collect()
    }

    pub(super) fn boolean(&self, value: &Spanned<DeValue<'_>>) -> Result<bool, Mistake> {
        match value.get_ref() {
            DeValue::Boolean(value) => Ok(*value),
            _ => self.wanted(value, "true or false"),
        }
    }

    pub(super) fn number(&self, value: &Spanned<DeValue<'_>>) -> Result<u64, Mistake> {
        let number = match value.get_ref() {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        number.map_or_else(|| self.wanted(value, "a number"), Ok)
    }

    pub(super) fn one_of(
        &self,
        value: &Spanned<DeValue<'_>>,
        choices: &[&'static str],
    ) -> Result<&'static str, Mistake> {
        let chosen = match value.get_ref() {
            DeValue::String(text) => choices.iter().find(|choice| **choice == text.as_ref()),
            _ => None,
        };
        match chosen {
            Some(choice) => Ok(choice),
            None => self.wanted(value, &format!("one of {choices:?}")),
        }
    }
}
