//! Turns `profiles/NAME.toml` into constant tables. A mistake in a profile ends the build with the
//! file and the line: grammar is checked here, names of calls and constants by the compiler, whose
//! message shows the line that the generated code carries as a comment.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, process};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Sections that profiles include; the other files are profiles.
const SECTIONS: &[&str] = &["base", "offline", "files", "secrets"];

/// Stands in a constant's comment for the file and line of the row that it gets into.
const SOURCE: &str = "@";

fn main() {
    let folder = Path::new("profiles");
    println!("cargo::rerun-if-changed=profiles");
    println!("cargo::rerun-if-changed=build.rs");
    let mut names: Vec<PathBuf> = match fs::read_dir(folder) {
        Ok(entries) => entries
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .collect(),
        Err(error) => fail(folder, "", 0, &error.to_string()),
    };
    names.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "toml")
    });
    names.sort();
    let mut code = String::new();
    let mut profiles = String::new();
    for path in &names {
        let text =
            fs::read_to_string(path).unwrap_or_else(|error| fail(path, "", 0, &error.to_string()));
        let file = File { path, text: &text };
        file.generate(&mut code, &mut profiles);
    }
    let _ = write!(
        code,
        "/// Every profile, by name.\npub static PROFILES: &[Profile] = &[\n{profiles}];\n"
    );
    let target = Path::new(&env::var("OUT_DIR").unwrap_or_default()).join("profiles.rs");
    if let Err(error) = fs::write(&target, code) {
        fail(&target, "", 0, &error.to_string());
    }
}

/// Ends the build and names file and line.
fn fail(path: &Path, text: &str, offset: usize, message: &str) -> ! {
    let line = text.get(..offset).unwrap_or_default().matches('\n').count() + 1;
    println!("cargo::error={}:{line}: {message}", path.display());
    process::exit(1)
}

struct File<'a> {
    path: &'a Path,
    text: &'a str,
}

impl File<'_> {
    fn fail(&self, offset: usize, message: &str) -> ! {
        fail(self.path, self.text, offset, message)
    }

    fn name(&self) -> &str {
        self.path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or_default()
    }

    /// Appends the section of rows and, unless the file is only a section, the profile.
    fn generate(&self, code: &mut String, profiles: &mut String) {
        let document = DeTable::parse(self.text).unwrap_or_else(|error| {
            self.fail(error.span().map_or(0, |span| span.start), error.message())
        });
        let mut includes = Vec::new();
        let mut rows = String::new();
        let mut limits = String::new();
        let (mut filter, mut connect_tcp, mut own_network) = (true, false, None);
        for (key, value) in document.get_ref() {
            match key.get_ref().as_ref() {
                "include" => includes = self.strings(value),
                "filter" => filter = self.boolean(value),
                "calls" => self.each(value, |name, value| match name.get_ref().as_ref() {
                    "allow" => self.rows(value, false, &mut rows),
                    "refuse" => self.rows(value, true, &mut rows),
                    other => self.fail(name.span().start, &format!("unknown key `{other}`")),
                }),
                "limits" => self.each(value, |name, value| {
                    let limit = name.get_ref();
                    if !["core", "nofile", "fsize", "memlock"].contains(&limit.as_ref()) {
                        self.fail(name.span().start, &format!("unknown limit `{limit}`"));
                    }
                    let number = self.number(value);
                    let _ = write!(limits, "{limit}: Some({number}), ");
                }),
                "network" => self.each(value, |name, value| match name.get_ref().as_ref() {
                    "namespace" => own_network = Some(self.own_network(value)),
                    "connect_tcp" => connect_tcp = self.boolean(value),
                    other => self.fail(name.span().start, &format!("unknown key `{other}`")),
                }),
                other => self.fail(key.span().start, &format!("unknown key `{other}`")),
            }
        }
        let own_network = own_network.unwrap_or(filter);
        let upper = self.name().to_uppercase();
        let name = self.name();
        let _ = write!(
            code,
            "#[cfg(target_os = \"linux\")]\n#[allow(clippy::unnecessary_cast)]\nstatic {upper}: Section = Section {{ name: \"{name}\", \
             limits: Limits {{ {limits}..Limits::NONE }}, rows: &[\n{rows}] }};\n\
             #[cfg(not(target_os = \"linux\"))]\nstatic {upper}: Section = Section {{ \
             name: \"{name}\", limits: Limits {{ {limits}..Limits::NONE }}, rows: &[] }};\n"
        );
        if SECTIONS.contains(&name) {
            return;
        }
        let mut sections = String::new();
        for (include, offset) in includes {
            if !SECTIONS.contains(&include.as_str()) {
                self.fail(
                    offset,
                    &format!("there is no section `{include}`, only {SECTIONS:?}"),
                );
            }
            let _ = write!(sections, "&{}, ", include.to_uppercase());
        }
        let _ = writeln!(
            profiles,
            "Profile {{ name: \"{name}\", filter: {filter}, own_network: {own_network}, \
             connect_tcp: {connect_tcp}, sections: &[{sections}&{upper}] }},"
        );
    }

    fn each(
        &self,
        value: &Spanned<DeValue<'_>>,
        mut entry: impl FnMut(&Spanned<toml::de::DeString<'_>>, &Spanned<DeValue<'_>>),
    ) {
        match value.get_ref() {
            DeValue::Table(table) => table.iter().for_each(|(key, value)| entry(key, value)),
            _ => self.fail(value.span().start, "a table is needed here"),
        }
    }

    fn strings(&self, value: &Spanned<DeValue<'_>>) -> Vec<(String, usize)> {
        let DeValue::Array(array) = value.get_ref() else {
            self.fail(value.span().start, "an array of strings is needed here")
        };
        array
            .iter()
            .map(|item| match item.get_ref() {
                DeValue::String(text) => (text.to_string(), item.span().start),
                _ => self.fail(item.span().start, "a string is needed here"),
            })
            .collect()
    }

    fn boolean(&self, value: &Spanned<DeValue<'_>>) -> bool {
        match value.get_ref() {
            DeValue::Boolean(value) => *value,
            _ => self.fail(value.span().start, "true or false is needed here"),
        }
    }

    fn own_network(&self, value: &Spanned<DeValue<'_>>) -> bool {
        match value.get_ref() {
            DeValue::String(text) if text == "own" => true,
            DeValue::String(text) if text == "host" => false,
            _ => self.fail(value.span().start, "\"own\" or \"host\" is needed here"),
        }
    }

    fn number(&self, value: &Spanned<DeValue<'_>>) -> u64 {
        match value.get_ref() {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        }
        .unwrap_or_else(|| self.fail(value.span().start, "a number is needed here"))
    }

    fn rows(&self, value: &Spanned<DeValue<'_>>, refuse: bool, code: &mut String) {
        for (text, offset) in self.strings(value) {
            if let Err(message) = self.row(&text, offset, refuse, code) {
                self.fail(offset, &format!("`{text}`: {message}"));
            }
        }
    }

    /// `[single:|system:|x86_64:] CALL [(CONDITIONS)] [-> ERRNO]`
    fn row(
        &self,
        text: &str,
        offset: usize,
        refuse: bool,
        code: &mut String,
    ) -> Result<(), String> {
        let (body, errno) = match text.split_once("->") {
            Some((body, errno)) => (body.trim(), Some(identifier(errno)?)),
            None => (text.trim(), None),
        };
        if refuse != errno.is_some() {
            return Err("rows under `refuse` end with `-> ERRNO`, others do not".to_owned());
        }
        let (mut mode, mut arch, mut call) = ("None", "", body);
        while let Some((prefix, rest)) = call.split_once(':') {
            match prefix.trim() {
                "single" => mode = "Some(Mode::Single)",
                "system" => mode = "Some(Mode::System)",
                "x86_64" => arch = "#[cfg(target_arch = \"x86_64\")] ",
                other => return Err(format!("unknown prefix `{other}`")),
            }
            call = rest.trim();
        }
        let (call, conditions) = match call.split_once('(') {
            Some((call, rest)) => {
                let inner = rest
                    .strip_suffix(')')
                    .ok_or("a `)` is missing at the end")?;
                (
                    call,
                    inner
                        .split(',')
                        .map(condition)
                        .collect::<Result<Vec<_>, _>>()?,
                )
            }
            None => (call, Vec::new()),
        };
        let call = identifier(call)?;
        let line = self
            .text
            .get(..offset)
            .unwrap_or_default()
            .matches('\n')
            .count()
            + 1;
        let source = format!("{}:{line}", self.path.display());
        let errno = errno.map_or("None".to_owned(), |errno| format!("Some(libc::{errno})"));
        for conditions in alternatives(&conditions) {
            let _ = writeln!(
                code,
                "{arch}Row {{ call: \"{call}\", source: \"{source}\", mode: {mode},\n\
                 number: libc::SYS_{call}, // {source}\n\
                 errno: {errno}, // {source}\n\
                 conditions: &[{}] }},",
                conditions.replace(SOURCE, &source)
            );
        }
        Ok(())
    }
}

/// One condition as the alternatives of which one must hold.
fn condition(text: &str) -> Result<Vec<String>, String> {
    let (left, equal, right) = match (text.split_once("=="), text.split_once("!=")) {
        (Some((left, right)), None) => (left, true, right),
        (None, Some((left, right))) => (left, false, right),
        _ => return Err(format!("`{}` needs one `==` or `!=`", text.trim())),
    };
    let (argument, mask) = match left.split_once('&') {
        Some((argument, mask)) => (argument, format!("Some({})", constant(mask)?)),
        None => (left, "None".to_owned()),
    };
    if !equal && mask != "None" {
        return Err("a mask goes with `==` only".to_owned());
    }
    let argument = argument.trim();
    let (wide, number) = match (argument.strip_prefix("arg"), argument.strip_prefix("ptr")) {
        (Some(number), _) => (false, number),
        (_, Some(number)) => (true, number),
        _ => return Err(format!("`{argument}` is neither argN nor ptrN")),
    };
    if !matches!(number, "0" | "1" | "2" | "3" | "4" | "5") {
        return Err(format!("`{argument}`: a call has arguments 0 to 5"));
    }
    let each = right.split('|').map(|value| {
        let value = match value.trim() {
            "self" => "Value::OwnPid".to_owned(),
            value => format!("Value::Number({})", constant(value)?),
        };
        Ok(format!(
            "Condition {{ argument: {number}, wide: {wide}, mask: {mask}, equal: {equal}, value: {value} }}, "
        ))
    });
    let each = each.collect::<Result<Vec<String>, String>>()?;
    // Equal to one of them, but different from all of them.
    Ok(if equal { each } else { vec![each.concat()] })
}

/// The product of all conditions' alternatives.
fn alternatives(conditions: &[Vec<String>]) -> Vec<String> {
    conditions
        .iter()
        .fold(vec![String::new()], |rows, choices| {
            rows.iter()
                .flat_map(|row| choices.iter().map(move |choice| format!("{row}{choice}")))
                .collect()
        })
}

/// A number, a name of libc, or several joined by `+`.
fn constant(text: &str) -> Result<String, String> {
    let parts = text.split('+').map(|part| {
        let part = part.trim();
        let digits = part.strip_prefix("0x").unwrap_or(part);
        if !digits.is_empty()
            && digits.chars().all(|c| c.is_ascii_hexdigit())
            && part.starts_with(|c: char| c.is_ascii_digit())
        {
            return Ok(part.to_owned());
        }
        // On a line of its own, so that the compiler's message about it shows where it comes from.
        Ok(format!(
            "\nlibc::{} as u64 // {SOURCE}\n",
            identifier(part)?
        ))
    });
    Ok(parts.collect::<Result<Vec<String>, String>>()?.join(" | "))
}

fn identifier(text: &str) -> Result<&str, String> {
    let text = text.trim();
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if text.is_empty() || text.starts_with(|c: char| c.is_ascii_digit()) || !text.chars().all(valid)
    {
        return Err(format!("`{text}` is no name"));
    }
    Ok(text)
}
