//! Which session a key has now, and what is listed about it: the original's `sessions.json`, here only a copy of what the
//! transcripts say. Each entry remembers the length of its transcript; where that differs, or the file is missing or
//! broken, the transcript is read instead. So it need not be written at each turn, which would cost more the more
//! sessions there are: it is written after as many turns as it has entries, and when the process ends.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clawdbot_identity::SessionKey;
use clawdbot_proto::v1;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::transcript::{self, Header, Settings, Thread, Totals};

const FILE: &str = "sessions.json";
/// Turns between two writes at least.
const LEAST_TURNS: usize = 64;

/// What is known of a session without reading its transcript.
#[derive(Debug, Clone, PartialEq)]
pub struct Meta {
    pub session_id: String,
    /// Milliseconds since 1970.
    pub started_ms: u64,
    pub updated_ms: u64,
    pub totals: Totals,
    pub settings: Settings,
    /// Length of the transcript that the counts are from.
    bytes: u64,
    /// Whether the transcript says more than is known here.
    pub stale: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    session_id: String,
    updated_at: u64,
    #[serde(default)]
    session_file: String,
    #[serde(default)]
    input_tokens: u64,
    #[serde(default)]
    output_tokens: u64,
    #[serde(default)]
    total_tokens: u64,
    #[serde(default)]
    cache_read: u64,
    #[serde(default)]
    cache_write: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cost_microusd: Option<u64>,
    #[serde(default)]
    compaction_count: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    provider_override: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    model_override: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    verbose_level: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    thinking_level: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    response_usage: Option<String>,
    #[serde(default)]
    messages: u32,
    #[serde(default)]
    started_at: u64,
    #[serde(default)]
    transcript_bytes: u64,
}

/// All sessions of one class.
pub struct Index {
    folder: PathBuf,
    sessions: HashMap<SessionKey, Meta>,
    unwritten: usize,
}

impl Index {
    /// Reads the folder. Only transcripts that `sessions.json` does not know as they are get opened, and of those only the
    /// first line.
    pub fn load(folder: &Path) -> io::Result<Self> {
        let known = read_rows(&folder.join(FILE));
        let mut index = Self {
            folder: folder.into(),
            sessions: HashMap::new(),
            unwritten: 0,
        };
        let mut looked_into = 0;
        for file in fs::read_dir(folder)? {
            let path = file?.path();
            let Some(id) = transcript_id(&path) else {
                continue;
            };
            let length = match fs::metadata(&path) {
                Ok(found) => found.len(),
                Err(error) => {
                    warn!(file = %path.display(), %error, "a transcript cannot be read");
                    continue;
                }
            };
            match known.get(id).filter(|(_, meta)| meta.bytes == length) {
                Some((key, meta)) => index.offer(key.clone(), meta.clone()),
                None => {
                    looked_into += 1;
                    index.look_into(&path, id);
                }
            }
        }
        if looked_into > 0 {
            info!(
                files = looked_into,
                "sessions.json was not up to date; the transcripts were asked"
            );
            index.unwritten = looked_into;
        }
        Ok(index)
    }

    fn look_into(&mut self, path: &Path, id: &str) {
        match transcript::header(path) {
            Ok(Some(header)) if header.id == id => {
                if let Some(key) = header.key() {
                    let mut meta = Meta::begun(&header);
                    meta.stale = true;
                    meta.updated_ms = modified_ms(path).unwrap_or(meta.started_ms);
                    self.offer(key, meta);
                }
            }
            Ok(_) => {
                info!(file = %path.display(), "is no transcript of a session here; left alone")
            }
            Err(error) => warn!(file = %path.display(), %error, "a transcript cannot be read"),
        }
    }

    /// Of several transcripts with one key the one begun last is the session.
    fn offer(&mut self, key: SessionKey, meta: Meta) {
        let newer = |other: &Meta| {
            (meta.started_ms, &meta.session_id) > (other.started_ms, &other.session_id)
        };
        if self.sessions.get(&key).is_none_or(newer) {
            self.sessions.insert(key, meta);
        }
    }

    pub fn get(&self, key: &SessionKey) -> Option<&Meta> {
        self.sessions.get(key)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&SessionKey, &Meta)> {
        self.sessions.iter()
    }

    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// A transcript grew, or was read.
    pub fn note(&mut self, key: &SessionKey, thread: &Thread) {
        let mut meta = Meta::begun(&thread.header);
        meta.updated_ms = thread.updated_ms;
        meta.totals = thread.totals;
        meta.settings = thread.settings.clone();
        meta.bytes = thread.bytes;
        self.sessions.insert(key.clone(), meta);
        self.unwritten += 1;
    }

    /// The same, unless something newer was noted meanwhile.
    pub fn note_if_stale(&mut self, key: &SessionKey, thread: &Thread) {
        let stale = |meta: &Meta| meta.stale && meta.session_id == thread.header.id;
        if self.get(key).is_some_and(stale) {
            self.note(key, thread);
        }
    }

    /// The file's content if it is time to write it; then it counts as written.
    pub fn take_due(&mut self) -> Option<Vec<u8>> {
        (self.unwritten >= self.sessions.len().max(LEAST_TURNS)).then(|| self.take())
    }

    /// The file's content if it differs from what was written last.
    pub fn take_unwritten(&mut self) -> Option<Vec<u8>> {
        (self.unwritten > 0).then(|| self.take())
    }

    fn take(&mut self) -> Vec<u8> {
        self.unwritten = 0;
        let rows: BTreeMap<&str, Row> = self
            .sessions
            .iter()
            .map(|(key, meta)| (key.as_str(), self.row(meta)))
            .collect();
        // Maps with string keys cannot fail to become JSON.
        serde_json::to_vec_pretty(&rows).unwrap_or_default()
    }

    fn row(&self, meta: &Meta) -> Row {
        let model = meta
            .settings
            .model
            .as_deref()
            .and_then(|model| model.split_once('/'));
        let usage = meta.totals.usage;
        Row {
            session_id: meta.session_id.clone(),
            updated_at: meta.updated_ms,
            session_file: transcript_path(&self.folder, &meta.session_id)
                .display()
                .to_string(),
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            total_tokens: usage.input_tokens.saturating_add(usage.output_tokens),
            cache_read: usage.cache_read_tokens,
            cache_write: usage.cache_write_tokens,
            cost_microusd: usage.cost_microusd,
            compaction_count: meta.totals.compactions,
            provider_override: model.map(|(provider, _)| provider.into()),
            model_override: model.map(|(_, model)| model.into()),
            verbose_level: meta.settings.verbose.clone(),
            thinking_level: meta.settings.thinking.clone(),
            response_usage: meta.settings.usage.clone(),
            messages: meta.totals.messages,
            started_at: meta.started_ms,
            transcript_bytes: if meta.stale { 0 } else { meta.bytes },
        }
    }

    /// Where the file belongs.
    pub fn file(&self) -> PathBuf {
        self.folder.join(FILE)
    }
}

impl Meta {
    fn begun(header: &Header) -> Self {
        Self {
            session_id: header.id.clone(),
            started_ms: header.at_ms(),
            updated_ms: header.at_ms(),
            totals: Totals::default(),
            settings: Settings::default(),
            bytes: 0,
            stale: false,
        }
    }
}

impl Row {
    fn into_meta(self) -> Meta {
        let model = self.provider_override.zip(self.model_override);
        Meta {
            session_id: self.session_id,
            started_ms: self.started_at,
            updated_ms: self.updated_at,
            totals: Totals {
                messages: self.messages,
                compactions: self.compaction_count,
                usage: v1::Usage {
                    input_tokens: self.input_tokens,
                    output_tokens: self.output_tokens,
                    cache_read_tokens: self.cache_read,
                    cache_write_tokens: self.cache_write,
                    cost_microusd: self.cost_microusd,
                },
            },
            settings: Settings {
                model: model.map(|(provider, model)| format!("{provider}/{model}")),
                verbose: self.verbose_level,
                thinking: self.thinking_level,
                usage: self.response_usage,
            },
            bytes: self.transcript_bytes,
            stale: false,
        }
    }
}

/// By session id. A missing file is a fresh start; a broken one is named in the log and replaced at the next write.
fn read_rows(path: &Path) -> HashMap<String, (SessionKey, Meta)> {
    let read = fs::read(path).and_then(|bytes| {
        serde_json::from_slice::<HashMap<String, Row>>(&bytes).map_err(io::Error::other)
    });
    let rows = match read {
        Ok(rows) => rows,
        Err(error) if error.kind() == io::ErrorKind::NotFound => HashMap::new(),
        Err(error) => {
            warn!(file = %path.display(), %error, "cannot be read; it is made again from the transcripts");
            HashMap::new()
        }
    };
    let metas = rows.into_iter().filter_map(|(key, row)| {
        let key = SessionKey::parse(&key).ok()?;
        Some((row.session_id.clone(), (key, row.into_meta())))
    });
    metas.collect()
}

/// `FOLDER/ID.jsonl`.
pub fn transcript_path(folder: &Path, id: &str) -> PathBuf {
    folder.join(format!("{id}.jsonl"))
}

fn transcript_id(path: &Path) -> Option<&str> {
    let id = path.file_name()?.to_str()?.strip_suffix(".jsonl")?;
    let plain = id
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    (plain && !id.is_empty()).then_some(id)
}

fn modified_ms(path: &Path) -> Option<u64> {
    let at = fs::metadata(path).ok()?.modified().ok()?;
    let since = at.duration_since(std::time::SystemTime::UNIX_EPOCH).ok()?;
    u64::try_from(since.as_millis()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> SessionKey {
        SessionKey::parse(text).unwrap()
    }

    fn transcript(folder: &Path, id: &str, session: &str, at_ms: u64) -> Thread {
        let header = Header::new(id.into(), &key(session), "/w".into(), at_ms);
        let line = header.to_line();
        let mut thread = Thread::new(header);
        thread.bytes = line.len() as u64;
        fs::write(transcript_path(folder, id), line).unwrap();
        thread
    }

    #[test]
    fn what_is_written_is_read_again_without_opening_a_transcript() {
        let dir = tempfile::tempdir().unwrap();
        let mut thread = transcript(dir.path(), "s1", "agent:main:main", 5);
        thread.totals = Totals {
            messages: 3,
            compactions: 1,
            usage: v1::Usage {
                input_tokens: 4,
                output_tokens: 5,
                cache_read_tokens: 2,
                cache_write_tokens: 1,
                cost_microusd: Some(7),
            },
        };
        thread.settings = Settings {
            model: Some("a/b/c".into()),
            verbose: Some("on".into()),
            thinking: Some("low".into()),
            usage: Some("full".into()),
        };
        let mut index = Index::load(dir.path()).unwrap();
        index.note(&key("agent:main:main"), &thread);
        fs::write(index.file(), index.take_unwritten().unwrap()).unwrap();
        assert_eq!(index.take_unwritten(), None);
        // The same length, but nothing that could be read.
        fs::write(
            transcript_path(dir.path(), "s1"),
            vec![b'x'; thread.bytes as usize],
        )
        .unwrap();
        let again = Index::load(dir.path()).unwrap();
        assert_eq!(
            again.get(&key("agent:main:main")),
            index.get(&key("agent:main:main"))
        );
        let json: serde_json::Value =
            serde_json::from_slice(&fs::read(index.file()).unwrap()).unwrap();
        let row = &json["agent:main:main"];
        assert_eq!(
            (row["totalTokens"].as_u64(), row["modelOverride"].as_str()),
            (Some(9), Some("b/c"))
        );
        assert!(row["sessionFile"].as_str().unwrap().ends_with("s1.jsonl"));
    }

    #[test]
    fn a_missing_broken_or_old_file_is_made_up_for_from_the_transcripts() {
        let dir = tempfile::tempdir().unwrap();
        transcript(dir.path(), "s1", "agent:main:main", 5);
        transcript(dir.path(), "s2", "agent:main:main", 6);
        transcript(dir.path(), "s3", "agent:main:notes", 1);
        fs::write(dir.path().join("other.jsonl"), "{\"type\":\"session\"}\n").unwrap();
        fs::write(dir.path().join("s0.jsonl.reset.1"), "x").unwrap();
        let old = r#"{"agent:main:main":{"sessionId":"s1","updatedAt":5,"startedAt":5,"transcriptBytes":1}}"#;
        for content in [
            None,
            Some(""),
            Some("{\"a\":"),
            Some("[]"),
            Some("{\"x\":{\"sessionId\":1}}"),
            Some(old),
        ] {
            if let Some(content) = content {
                fs::write(dir.path().join(FILE), content).unwrap();
            }
            let index = Index::load(dir.path()).unwrap();
            assert_eq!(index.len(), 2, "{content:?}");
            let newest = index.get(&key("agent:main:main")).unwrap();
            assert_eq!((newest.session_id.as_str(), newest.stale), ("s2", true));
            assert_eq!(
                index.get(&key("agent:main:notes")).unwrap().session_id,
                "s3"
            );
        }
    }

    #[test]
    fn a_transcript_that_cannot_be_looked_at_keeps_no_other_away() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path();
        transcript(folder, "a", "agent:main:main", 1);
        std::os::unix::fs::symlink("/nowhere", transcript_path(folder, "b")).unwrap();
        assert_eq!(Index::load(folder).unwrap().len(), 1);
    }

    #[test]
    fn a_turn_does_not_write_more_because_there_are_more_sessions() {
        let written_per_turn = |sessions: usize| {
            let dir = tempfile::tempdir().unwrap();
            let mut index = Index::load(dir.path()).unwrap();
            let threads: Vec<_> = (0..sessions)
                .map(|n| {
                    let key = key(&format!("agent:main:s{n}"));
                    let id = crate::world::uuid([u8::try_from(n % 251).unwrap(); 16]);
                    (
                        key.clone(),
                        Thread::new(Header::new(id, &key, String::new(), 1)),
                    )
                })
                .collect();
            let turns = 20 * sessions.max(100);
            let mut written = 0;
            for n in 0..turns {
                let (key, thread) = &threads[n % sessions];
                index.note(key, thread);
                written += index.take_due().map_or(0, |bytes| bytes.len());
            }
            written / turns
        };
        let (few, many) = (written_per_turn(64), written_per_turn(1000));
        assert!(
            many <= few + few / 10,
            "{few} bytes a turn with 64 sessions, {many} with 1000"
        );
        assert!(many < 1024, "{many}");
    }
}
