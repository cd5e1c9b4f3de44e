//! Where a secret is: files and the memory of processes are searched for it as it is, reversed, in base64, in hex and in
//! UTF-16, and for every piece of it of 16 bytes or more. What cannot be read is counted, never passed over.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use crate::kernel::Seen;

/// Bytes of a secret that must stand together to count.
const PIECE: usize = 16;
/// A piece is found by one of these.
const ANCHOR: usize = 8;
/// How often a process is looked at whose memory is taken away under the look.
const LOOKS: usize = 20;
/// Bytes that are read at a time.
const CHUNK: usize = 1 << 20;

/// A secret that is looked for.
#[derive(Debug, Clone)]
pub struct Canary {
    /// What it is called in a finding.
    pub name: &'static str,
    /// The secret.
    pub text: String,
}

/// Something that was found: which secret, in which form, where, and how many bytes of that form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Name of the canary.
    pub canary: &'static str,
    /// plain, reversed, hex, HEX, utf-16le, utf-16be or base64.
    pub form: &'static str,
    /// Process and region, or file.
    pub place: String,
    /// Bytes that stand together.
    pub length: usize,
}

/// What was looked at.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Searched {
    /// Bytes of memory.
    pub memory: u64,
    /// Regions that nobody can read from outside.
    pub hidden: usize,
    /// Files.
    pub files: usize,
    /// Files that could not be read to their end: sockets, and what was gone by then.
    pub unreadable: usize,
}

/// One way to write a secret.
struct Form {
    canary: &'static str,
    name: &'static str,
    bytes: Vec<u8>,
    /// Bytes of this form for [`PIECE`] bytes of the secret.
    least: usize,
}

/// A search for some secrets.
pub struct Hunt {
    forms: Vec<Form>,
    /// The first two bytes of an anchor.
    begins: Vec<bool>,
    anchors: HashMap<[u8; ANCHOR], Vec<(usize, usize)>>,
    /// What was found so far.
    pub found: Vec<Finding>,
    /// What was looked at so far.
    pub searched: Searched,
}

/// Every way to write a secret.
fn forms(canary: &Canary) -> Vec<Form> {
    let plain = canary.text.as_bytes();
    let hex = |upper: bool| -> Vec<u8> {
        let digit = |byte: &u8| match upper {
            true => format!("{byte:02X}"),
            false => format!("{byte:02x}"),
        };
        plain.iter().map(digit).collect::<String>().into_bytes()
    };
    let wide = |big: bool| -> Vec<u8> {
        let units = canary.text.encode_utf16();
        units
            .flat_map(|unit| match big {
                true => unit.to_be_bytes(),
                false => unit.to_le_bytes(),
            })
            .collect()
    };
    let mut forms = vec![
        ("plain", plain.to_vec(), PIECE),
        ("reversed", plain.iter().rev().copied().collect(), PIECE),
        ("hex", hex(false), 2 * PIECE),
        ("HEX", hex(true), 2 * PIECE),
        ("utf-16le", wide(false), 2 * PIECE),
        ("utf-16be", wide(true), 2 * PIECE),
    ];
    for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
        // What stands before the secret shifts it by up to two bytes; letters that depend on the neighbours are left out.
        for shift in 0..3 {
            let text = engine.encode([&[0; 2][..shift], plain].concat());
            let first = [0, 2, 3][shift];
            let last = (shift + plain.len()) / 3 * 4;
            forms.push((
                "base64",
                text.as_bytes()[first..last].to_vec(),
                PIECE * 4 / 3,
            ));
        }
    }
    let form = |(name, bytes, least)| Form {
        canary: canary.name,
        name,
        bytes,
        least,
    };
    forms.into_iter().map(form).collect()
}

impl Hunt {
    /// A search for these. Each must be long enough and look like nothing else.
    pub fn new(canaries: &[Canary]) -> Self {
        let forms: Vec<Form> = canaries.iter().flat_map(forms).collect();
        let mut begins = vec![false; 1 << 16];
        let mut anchors: HashMap<_, Vec<_>> = HashMap::new();
        for (number, form) in forms.iter().enumerate() {
            assert!(
                form.bytes.len() >= 2 * form.least,
                "{} is too short",
                form.canary
            );
            for at in (0..=form.bytes.len() - ANCHOR).step_by(ANCHOR) {
                let anchor: [u8; ANCHOR] = form.bytes[at..at + ANCHOR].try_into().unwrap();
                begins[usize::from(u16::from_le_bytes([anchor[0], anchor[1]]))] = true;
                anchors.entry(anchor).or_default().push((number, at));
            }
        }
        Self {
            forms,
            begins,
            anchors,
            found: Vec::new(),
            searched: Searched::default(),
        }
    }

    /// Searches bytes.
    pub fn bytes(&mut self, place: &str, bytes: &[u8]) {
        let mut at = 0;
        while at + ANCHOR <= bytes.len() {
            if self.begins[usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]))] {
                self.anchored(place, bytes, at);
            }
            at += 1;
        }
    }

    fn anchored(&mut self, place: &str, bytes: &[u8], at: usize) {
        let Some(starts) = self.anchors.get(&bytes[at..at + ANCHOR]) else {
            return;
        };
        for (number, offset) in starts {
            let form = &self.forms[*number];
            let before = bytes[..at].iter().rev();
            let before = before.zip(form.bytes[..*offset].iter().rev());
            let before = before.take_while(|(a, b)| a == b).count();
            let after = bytes[at..].iter().zip(&form.bytes[*offset..]);
            let after = after.take_while(|(a, b)| a == b).count();
            let finding = Finding {
                canary: form.canary,
                form: form.name,
                place: place.to_owned(),
                length: before + after,
            };
            if finding.length >= form.least && !self.found.contains(&finding) {
                self.found.push(finding);
            }
        }
    }

    /// Searches a stream in chunks that overlap.
    fn chunks(&mut self, place: &str, mut read: impl FnMut(&mut [u8]) -> std::io::Result<usize>) {
        let longest = self
            .forms
            .iter()
            .map(|form| form.bytes.len())
            .max()
            .unwrap_or(0);
        let mut buffer = vec![0; CHUNK + longest];
        let mut kept = 0;
        loop {
            let count = match read(&mut buffer[kept..]) {
                Ok(0) => return,
                Ok(count) => count,
                Err(_) => {
                    self.searched.unreadable += 1;
                    return;
                }
            };
            self.bytes(place, &buffer[..kept + count]);
            let from = (kept + count).saturating_sub(longest);
            buffer.copy_within(from..kept + count, 0);
            kept = kept + count - from;
        }
    }

    /// Searches a file.
    pub fn file(&mut self, place: &str, path: &Path) {
        match File::open(path) {
            Ok(mut file) => {
                self.searched.files += 1;
                self.chunks(place, |buffer| file.read(buffer));
            }
            Err(_) => self.searched.unreadable += 1,
        }
    }

    /// Searches every file below a folder, names included. Links are not followed.
    pub fn folder(&mut self, name: &str, path: &Path) {
        for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
            let inner = format!("{name}/{}", entry.file_name().to_string_lossy());
            self.bytes(&format!("name of {inner}"), inner.as_bytes());
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                self.folder(&inner, &entry.path());
            } else if kind.is_file() {
                self.file(&inner, &entry.path());
            }
        }
    }

    /// Searches a process: memory, environment, arguments, and the files behind its descriptors. Needs root.
    pub fn process(&mut self, name: &str, seen: Seen) {
        let of = |leaf: &str| format!("/proc/{}/{leaf}", seen.0);
        for leaf in ["environ", "cmdline", "auxv", "comm"] {
            self.file(&format!("{name} {leaf}"), Path::new(&of(leaf)));
        }
        for entry in std::fs::read_dir(of("fd")).unwrap().flatten() {
            let target = std::fs::read_link(entry.path()).unwrap_or_default();
            let target = target.to_string_lossy().into_owned();
            // Opening a pipe or a socket is no reading of a file, and a device has no end.
            if std::fs::metadata(entry.path()).is_ok_and(|file| file.is_file()) {
                let shown = target.trim_start_matches('/').replace(" (deleted)", "");
                let shown = shown.rsplit('/').next().unwrap_or_default().to_owned();
                self.file(&format!("{name} descriptor {shown}"), &entry.path());
            }
        }
        self.memory(name, seen);
    }

    fn memory(&mut self, name: &str, seen: Seen) {
        // It goes on meanwhile: a thread that ends takes its stack along.
        let mut looks = (0..LOOKS).map(|_| self.whole_memory(name, seen));
        let last = looks.find_map(|look| match look {
            Ok(searched) => Some(searched),
            Err(region) => {
                println!("{name}: {region:?} was gone before it was read to its end");
                None
            }
        });
        let searched = last.unwrap_or_else(|| panic!("{name}: its memory changes without end"));
        self.searched.memory += searched.memory;
        self.searched.hidden += searched.hidden;
    }

    /// Searches all memory that there is now; what was looked at, or a region that was taken away meanwhile.
    fn whole_memory(&mut self, name: &str, seen: Seen) -> Result<Searched, Region> {
        let memory = File::open(format!("/proc/{}/mem", seen.0)).unwrap();
        let place = format!("{name} memory");
        let mut searched = Searched::default();
        for region in regions(seen) {
            let mut at = region.start;
            let mut read = |buffer: &mut [u8]| {
                let left = usize::try_from(region.end - at).unwrap().min(buffer.len());
                let count = memory.read_at(&mut buffer[..left], at)?;
                at += count as u64;
                Ok(count)
            };
            if region.secret {
                let outcome = read(&mut [0; ANCHOR]);
                assert!(
                    outcome.is_err(),
                    "{name}: memory of memfd_secret was read from outside"
                );
                searched.hidden += 1;
                continue;
            }
            self.chunks(&place, &mut read);
            if at != region.end {
                let mut now = regions(seen).into_iter();
                let still = now.any(|now| (now.start, now.end) == (region.start, region.end));
                assert!(!still, "{name}: {region:?} was not read to its end");
                return Err(region);
            }
            searched.memory += region.end - region.start;
        }
        Ok(searched)
    }

    /// Who has what: for each secret the places, each once.
    pub fn places(&self) -> BTreeMap<&'static str, Vec<String>> {
        let mut places: BTreeMap<_, Vec<String>> = BTreeMap::new();
        for finding in &self.found {
            let known = places.entry(finding.canary).or_default();
            if !known.contains(&finding.place) {
                known.push(finding.place.clone());
            }
        }
        places.values_mut().for_each(|places| places.sort());
        places
    }
}

/// A part of an address space that has contents of its own.
#[derive(Debug)]
struct Region {
    start: u64,
    end: u64,
    secret: bool,
}

/// The regions of a process. Left out is what has no page in memory, and what only repeats a file on disk.
fn regions(seen: Seen) -> Vec<Region> {
    let text = std::fs::read_to_string(format!("/proc/{}/smaps", seen.0)).unwrap();
    let mut regions = Vec::new();
    let mut current: Option<(Region, bool, u64)> = None;
    let mut end = |region: Option<(Region, bool, u64)>| {
        if let Some((region, special, kept)) = region
            && !special
            && (kept > 0 || region.secret)
        {
            regions.push(region);
        }
    };
    for line in text.lines() {
        let (key, rest) = line.split_once(' ').unwrap();
        if let Some(field) = key.strip_suffix(':') {
            let own = ["Anonymous", "Private_Dirty", "Shared_Dirty", "Swap"].contains(&field);
            if let (true, Some((_, _, kept))) = (own, &mut current) {
                let number = rest.split_whitespace().next().unwrap();
                *kept += number.parse::<u64>().unwrap();
            }
            continue;
        }
        end(current.take());
        let (start, stop) = key.split_once('-').unwrap();
        let number = |text| u64::from_str_radix(text, 16).unwrap();
        let special = ["[vvar]", "[vvar_vclock]", "[vsyscall]", "[vdso]"];
        current = Some((
            Region {
                start: number(start),
                end: number(stop),
                secret: rest.contains("secretmem"),
            },
            special.iter().any(|name| rest.ends_with(name)),
            0,
        ));
    }
    end(current);
    regions
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "sk-canary-9fK2mQ7xT4vB8nL1cR6wZ3yH5jD0aG-tail";

    fn hunt() -> Hunt {
        Hunt::new(&[Canary {
            name: "key",
            text: TEXT.into(),
        }])
    }

    fn finds(bytes: &[u8]) -> Vec<&'static str> {
        let mut hunt = hunt();
        hunt.bytes("here", bytes);
        hunt.found.iter().map(|finding| finding.form).collect()
    }

    #[test]
    fn every_form_is_found_wherever_it_lies() {
        let plain = TEXT.as_bytes();
        let hex: String = plain.iter().map(|byte| format!("{byte:02x}")).collect();
        let wide: Vec<u8> = TEXT.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let reversed: Vec<u8> = plain.iter().rev().copied().collect();
        for lead in 0..9 {
            let after = |bytes: &[u8]| [&vec![b'x'; lead][..], bytes, b"yz"].concat();
            assert_eq!(finds(&after(plain)), ["plain"]);
            assert_eq!(finds(&after(&reversed)), ["reversed"]);
            assert_eq!(finds(&after(hex.as_bytes())), ["hex"]);
            assert_eq!(finds(&after(hex.to_uppercase().as_bytes())), ["HEX"]);
            // Shifted by one byte it is the other order, but for its ends.
            assert!(finds(&after(&wide)).contains(&"utf-16le"));
            let inside = STANDARD_NO_PAD.encode(after(plain));
            assert!(finds(inside.as_bytes()).contains(&"base64"), "{inside}");
        }
    }

    #[test]
    fn a_piece_of_sixteen_bytes_is_found_and_a_shorter_one_is_not() {
        let plain = TEXT.as_bytes();
        for at in 0..=plain.len() - PIECE {
            assert_eq!(finds(&plain[at..at + PIECE]), ["plain"], "{at}");
            assert!(finds(&plain[at..at + PIECE - 1]).is_empty(), "{at}");
        }
    }

    #[test]
    fn what_lies_across_two_chunks_is_found() {
        for lead in [
            CHUNK - 60,
            CHUNK - 20,
            CHUNK - 1,
            CHUNK,
            CHUNK + 40,
            CHUNK + 80,
        ] {
            let bytes = [&vec![0; lead][..], TEXT.as_bytes()].concat();
            let mut rest = &bytes[..];
            let mut hunt = hunt();
            hunt.chunks("stream", |buffer| rest.read(buffer));
            let longest = hunt.found.iter().map(|finding| finding.length).max();
            assert_eq!(longest, Some(TEXT.len()), "{lead}");
        }
    }
}
