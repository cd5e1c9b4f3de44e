use std::fs;

use super::*;

const TAINTED: Flags = Flags {
    tainted: true,
    astray: false,
};

fn key(name: &str) -> SessionKey {
    SessionKey::parse(&format!("agent:main:{name}")).unwrap()
}

fn keep(folder: &tempfile::TempDir) -> Keep {
    fs::set_permissions(
        folder.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o700),
    )
    .unwrap();
    Keep::new(folder.path().to_owned())
}

fn opened(folder: &tempfile::TempDir) -> (Ledger, Known) {
    Ledger::open(&keep(folder), false).unwrap()
}

#[test]
fn flags_outlive_the_process_and_a_new_beginning_lowers_them() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, known) = Ledger::open(&keep(&folder), true).unwrap();
    assert_eq!(known.of(&key("a")), Flags::default());
    ledger.append(&key("a"), TAINTED, false, true).unwrap();
    ledger.append(&key("b"), Flags::BOTH, false, true).unwrap();
    ledger.append(&key("c"), TAINTED, false, true).unwrap();
    ledger
        .append(
            &key("a"),
            Flags {
                astray: true,
                ..Flags::default()
            },
            false,
            true,
        )
        .unwrap();
    ledger
        .append(&key("c"), Flags::default(), true, false)
        .unwrap();
    for _ in 0..3 {
        let (_, known) = opened(&folder);
        let all = ["a", "b", "c", "d"].map(|name| known.of(&key(name)));
        assert_eq!(
            all,
            [Flags::BOTH, Flags::BOTH, Flags::default(), Flags::default()]
        );
    }
    let text = fs::read_to_string(folder.path().join(NAME)).unwrap();
    assert_eq!(
        text.lines().count(),
        3,
        "what says nothing is left out: {text}"
    );
}

#[test]
fn without_the_file_or_with_a_damaged_one_unknown_sessions_have_read_everything() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, known) = opened(&folder);
    assert_eq!(known.of(&key("a")), Flags::BOTH);
    ledger
        .append(&key("a"), Flags::default(), true, true)
        .unwrap();
    let (_, known) = opened(&folder);
    assert_eq!(
        (known.of(&key("a")), known.of(&key("b"))),
        (Flags::default(), Flags::BOTH)
    );
}

#[test]
fn a_file_that_others_could_have_written_is_refused_for_a_person_to_see() {
    let folder = tempfile::tempdir().unwrap();
    drop(opened(&folder));
    let path = folder.path().join(NAME);
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    let error = Ledger::open(&keep(&folder), false).err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    let said = error.to_string();
    assert!(
        said.contains("taint.jsonl") && said.contains("chmod 600"),
        "{said}"
    );
}

#[test]
fn a_file_of_a_newer_version_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    drop(opened(&folder));
    let path = folder.path().join(NAME);
    let text = fs::read_to_string(&path).unwrap();
    let newer = text.replacen("\"version\":2", "\"version\":3", 1);
    fs::write(&path, &newer).unwrap();
    let error = Ledger::open(&keep(&folder), false).err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    let said = "taint.jsonl has format 3, and this version of Clawdbot reads formats up to 2";
    assert!(error.to_string().contains(said), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), newer);
    fs::write(&path, text).unwrap();
    drop(opened(&folder));
}

#[test]
fn a_file_cut_anywhere_lowers_no_flag() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::open(&keep(&folder), true).unwrap();
    let names = ["0", "1", "2", "3", "4"];
    for name in names {
        ledger.append(&key(name), TAINTED, false, true).unwrap();
    }
    let path = folder.path().join(NAME);
    let text = fs::read_to_string(&path).unwrap();
    for end in 0..text.len() {
        fs::write(&path, &text[..end]).unwrap();
        let (_, known) = opened(&folder);
        assert!(
            names.iter().all(|name| known.of(&key(name)).tainted),
            "{end}"
        );
        assert_eq!(known.of(&key("never-seen")), Flags::BOTH, "{end}");
    }
    fs::write(&path, &text).unwrap();
    let (_, known) = opened(&folder);
    assert!(names.iter().all(|name| known.of(&key(name)) == TAINTED));
    assert_eq!(
        known.of(&key("never-seen")),
        Flags::default(),
        "it is whole"
    );
}

#[test]
fn a_line_that_a_crash_left_uncounted_is_believed_and_a_counted_one_has_to_be_there() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::open(&keep(&folder), true).unwrap();
    for name in ["a", "b"] {
        ledger.append(&key(name), TAINTED, false, true).unwrap();
    }
    let path = folder.path().join(NAME);
    let text = fs::read_to_string(&path).unwrap();
    for (counted, other) in [
        (1, Flags::default()),
        (2, Flags::default()),
        (3, Flags::BOTH),
    ] {
        fs::write(
            &path,
            text.replacen(&head(true, 2), &head(true, counted), 1),
        )
        .unwrap();
        let (_, known) = opened(&folder);
        let all = ["a", "b", "c"].map(|name| known.of(&key(name)));
        assert_eq!(all, [TAINTED, TAINTED, other], "{counted}");
    }
}

#[test]
fn damage_in_the_middle_is_noticed_and_the_rest_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::open(&keep(&folder), true).unwrap();
    ledger.append(&key("a"), TAINTED, false, true).unwrap();
    ledger.append(&key("b"), TAINTED, false, true).unwrap();
    let path = folder.path().join(NAME);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("agent:main:a", "agent:main", 1)).unwrap();
    let (_, known) = opened(&folder);
    let all = ["a", "b", "c"].map(|name| known.of(&key(name)));
    assert_eq!(all, [Flags::BOTH, TAINTED, Flags::BOTH]);
}

#[test]
fn beyond_what_can_be_remembered_nothing_is_known() {
    let mut known = Ledger::none().1;
    for n in 0..=MAX {
        known.set(&key(&n.to_string()), TAINTED);
    }
    assert_eq!(known.flags.len(), MAX);
    assert_eq!(known.of(&key("never-seen")), Flags::BOTH);
}
