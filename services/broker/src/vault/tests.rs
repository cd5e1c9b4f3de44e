use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

fn random(bytes: &mut [u8]) -> std::io::Result<()> {
    getrandom::fill(bytes).map_err(std::io::Error::from)
}

fn secret(text: &str) -> Secret {
    Secret::new(text.as_bytes().to_vec().into()).unwrap()
}

fn key(fill: u8) -> Secret {
    Secret::new(vec![fill; KEY].into()).unwrap()
}

const OPENAI: (&str, &str) = ("model-openai", "default");

/// A vault with one secret, written and open.
fn founded(folder: &Path) -> Vault {
    let mut vault = Vault::load(folder);
    assert!(vault.is_absent());
    let header = Header {
        source: KeySource::Keyring,
        id: [7; 16],
    };
    let change = vault.found(header, key(1), OPENAI, &secret("sk-one"), random);
    commit(&mut vault, change.unwrap());
    vault
}

fn commit(vault: &mut Vault, change: Change) {
    change.write().unwrap();
    vault.commit(change);
}

fn put(vault: &mut Vault, at: (&str, &str), text: &str) -> bool {
    let edited = vault.edit(at, &Edit::Put(&secret(text)), random);
    let (change, replaced) = edited.unwrap();
    commit(vault, change);
    replaced
}

fn reveal(vault: &Vault, (owner, profile): (&str, &str)) -> Result<String, String> {
    let record = vault.record(owner, profile).ok_or("no record")?;
    let bytes = vault.reveal(record)?;
    Ok(String::from_utf8(bytes.to_vec()).unwrap())
}

fn state(vault: &Vault) -> String {
    vault.describe().state
}

#[test]
fn a_vault_outlives_its_process_and_opens_with_its_key_only() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = founded(folder.path());
    assert!(!put(&mut first, ("channel-telegram", "work"), "123:two"));
    assert!(put(&mut first, OPENAI, "sk-new"));
    assert_eq!(reveal(&first, OPENAI).as_deref(), Ok("sk-new"));

    let mut second = Vault::load(folder.path());
    assert_eq!(state(&second), "waiting");
    assert_eq!(second.waits_for().unwrap().id_text(), "07".repeat(16));
    assert_eq!(second.records().len(), 2, "names need no key");
    assert!(reveal(&second, OPENAI).unwrap_err().contains("waits"));
    let refused = second.unlock(key(2)).unwrap_err();
    assert!(refused.contains("not its key") && refused.contains("keyring"));
    assert_eq!(state(&second), "unreachable");
    assert_eq!(reveal(&second, OPENAI).unwrap_err(), refused);
    second.unlock(key(1)).unwrap();
    assert_eq!((state(&second).as_str(), second.trouble()), ("open", None));
    assert_eq!(reveal(&second, OPENAI).as_deref(), Ok("sk-new"));
}

#[test]
fn a_removed_secret_is_gone_from_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut vault = founded(folder.path());
    let (change, existed) = vault.edit(OPENAI, &Edit::Remove, random).unwrap();
    assert!(existed);
    commit(&mut vault, change);
    assert_eq!(reveal(&vault, OPENAI).unwrap_err(), "no record");
    assert!(Vault::load(folder.path()).records().is_empty());
}

#[test]
fn a_damaged_or_foreign_file_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault");
    drop(founded(folder.path()));
    let whole = fs::read(&path).unwrap();
    for bytes in [&b"somebody's notes"[..], &whole[..whole.len() - 1], b""] {
        fs::write(&path, bytes).unwrap();
        let mut vault = Vault::load(folder.path());
        assert_eq!(state(&vault), "unreachable");
        let why = vault.trouble().unwrap().to_owned();
        assert!(why.contains("never replaced") && why.contains("log in again"));
        assert!(!vault.is_absent() && vault.waits_for().is_none());
        assert!(vault.edit(OPENAI, &Edit::Remove, random).is_err());
        vault.unlock(key(1)).unwrap();
        assert_eq!(state(&vault), "unreachable");
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
    // What a newer version has written is not to be moved away.
    let mut newer = whole.clone();
    newer[8] += 1;
    fs::write(&path, &newer).unwrap();
    let vault = Vault::load(folder.path());
    let why = vault.trouble().unwrap();
    let said = "vault has format 2, and this version of Clawdbot reads formats up to 1";
    assert!(why.contains(said) && !why.contains("move"), "{why}");
    assert_eq!(fs::read(&path).unwrap(), newer);
    // Its form is right and its seal is not: the key does not open it.
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    fs::write(&path, &flipped).unwrap();
    let mut vault = Vault::load(folder.path());
    assert!(vault.unlock(key(1)).unwrap_err().contains("damaged"));
    assert!(vault.edit(OPENAI, &Edit::Remove, random).is_err());
    fs::write(&path, &whole).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let vault = Vault::load(folder.path());
    assert!(vault.trouble().unwrap().contains("chmod 600"));
}

#[test]
fn a_file_that_somebody_else_changed_is_not_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault");
    let vault = founded(folder.path());
    let before = fs::read(&path).unwrap();
    let edit = || {
        vault
            .edit(OPENAI, &Edit::Put(&secret("x")), random)
            .unwrap()
    };
    fs::write(&path, b"other").unwrap();
    assert!(edit().0.write().unwrap_err().contains("somebody else"));
    assert_eq!(fs::read(&path).unwrap(), b"other");
    fs::remove_file(&path).unwrap();
    assert!(edit().0.write().unwrap_err().contains("somebody else"));
    assert!(!path.exists());
    fs::write(&path, &before).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    edit().0.write().unwrap();

    // A vault that appeared meanwhile is in the way of a new one.
    let other = tempfile::tempdir().unwrap();
    let absent = Vault::load(other.path());
    let header = Header {
        source: KeySource::File,
        id: [8; 16],
    };
    let new = absent.found(header, key(1), OPENAI, &secret("x"), random);
    fs::write(other.path().join("vault"), b"there").unwrap();
    assert!(new.unwrap().write().is_err());
    assert_eq!(fs::read(other.path().join("vault")).unwrap(), b"there");
}

#[test]
fn a_full_vault_takes_replacements_only() {
    let folder = tempfile::tempdir().unwrap();
    let mut vault = founded(folder.path());
    for n in 1..MAX_RECORDS {
        let profile = format!("p{n}");
        let edited = vault.edit(("model-x", &profile), &Edit::Put(&secret("x")), random);
        vault.commit(edited.unwrap().0);
    }
    let more = vault.edit(("model-y", "default"), &Edit::Put(&secret("x")), random);
    assert!(more.err().unwrap().contains("logout"));
    assert!(vault.edit(OPENAI, &Edit::Put(&secret("x")), random).is_ok());
}
