use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::vault::{Edit, Header, KeySource, Random};

struct Bench {
    folder: tempfile::TempDir,
    store: Store,
}

/// A store to which a configuration without secrets has been brought.
fn bench(environment: &[u8]) -> Bench {
    let mut bench = unloaded(environment);
    bench.store.load(vec![]);
    bench
}

fn unloaded(environment: &[u8]) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let environment = Environment::parse(environment.to_vec().into(), Store::wants).unwrap();
    Bench {
        store: Store::new(
            environment,
            folder.path().to_owned(),
            Vault::load(&folder.path().join("credentials")),
        ),
        folder,
    }
}

fn literal(path: &str, value: &str) -> v1::SecretEntry {
    let source = v1::secret_entry::Source::Literal(value.as_bytes().to_vec());
    v1::SecretEntry {
        config_path: path.to_owned(),
        source: Some(source),
    }
}

fn reference(path: &str, source: &str, id: &str) -> v1::SecretEntry {
    let reference = v1::Reference {
        source: source.to_owned(),
        id: id.to_owned(),
    };
    v1::SecretEntry {
        config_path: path.to_owned(),
        source: Some(v1::secret_entry::Source::Reference(reference)),
    }
}

fn role(text: &str) -> Role {
    Role::parse(text).unwrap()
}

/// The first secret that a role leases, or why it gets nothing.
fn leased(store: &Store, who: &str) -> Result<String, String> {
    Ok(all(store, who)?.remove(0).1)
}

/// All that a role leases, by profile.
fn all(store: &Store, who: &str) -> Result<Vec<(String, String)>, String> {
    let lease = store.lease(&role(who)).map_err(|why| match why {
        NoLease::NotLoaded => "not loaded".to_owned(),
        NoLease::None(why) => why,
    })?;
    assert_eq!(lease.version, store.version(&role(who)));
    Ok(texts(&lease.secrets))
}

fn texts(named: &[Named]) -> Vec<(String, String)> {
    named
        .iter()
        .map(|(name, secret)| {
            let secret = String::from_utf8(secret.to_vec()).unwrap();
            (name.clone(), secret)
        })
        .collect()
}

/// Puts secrets into a vault of the bench, made with a key that it then has.
fn with_vault(bench: &mut Bench, secrets: &[(&str, &str, &str)]) {
    let random: Random = |bytes| getrandom::fill(bytes).map_err(std::io::Error::from);
    let secret = |text: &str| Secret::new(text.as_bytes().to_vec().into()).unwrap();
    std::fs::create_dir_all(bench.store.vault.folder()).unwrap();
    for (owner, profile, text) in secrets {
        let vault = &mut bench.store.vault;
        let (at, text) = ((*owner, *profile), secret(text));
        let change = if vault.is_absent() {
            let header = Header {
                source: KeySource::File,
                id: [1; 16],
            };
            let key = Secret::new(vec![1; 32].into()).unwrap();
            vault.found(header, key, at, &text, random).unwrap()
        } else {
            vault.edit(at, &Edit::Put(&text), random).unwrap().0
        };
        change.write().unwrap();
        vault.commit(change);
    }
}

fn version_of(store: &Store, who: &str) -> u64 {
    store.version(&role(who))
}

const EVERYTHING: &[u8] =
    b"ANTHROPIC_API_KEY=a\0OPENAI_API_KEY=o\0OLLAMA_API_KEY=l\0TELEGRAM_BOT_TOKEN=t\0\
    DISCORD_BOT_TOKEN=d\0CLAWDBOT_GATEWAY_TOKEN=g\0PATH=/bin\0MY_KEY=m";

#[test]
fn nothing_is_leased_before_the_configuration_has_arrived() {
    let mut bench = unloaded(EVERYTHING);
    for who in ["model-openai", "channel-telegram", "model-builtin"] {
        assert_eq!(
            bench.store.lease(&role(who)).err(),
            Some(NoLease::NotLoaded),
            "{who}"
        );
    }
    bench.store.load(vec![]);
    assert_eq!(leased(&bench.store, "model-openai").as_deref(), Ok("o"));
}

#[test]
fn every_role_leases_its_own_secret_and_no_other() {
    let bench = bench(EVERYTHING);
    for (who, expected) in [
        ("model-anthropic", Some("a")),
        ("model-openai", Some("o")),
        ("model-ollama", Some("l")),
        ("channel-telegram", Some("t")),
        ("channel-discord", Some("d")),
        ("model-builtin", None),
        ("model-path", None),
        ("channel-whatsapp", None),
        ("gateway", None),
        ("policy", None),
        ("broker", None),
        ("dialer", None),
        ("agent-main", None),
        ("agent-guest", None),
        ("executor", None),
        ("supervisor", None),
        ("operator", None),
        ("sandbox-main", None),
        ("keyring", None),
        ("docker", None),
    ] {
        assert_eq!(leased(&bench.store, who).ok().as_deref(), expected, "{who}");
    }
}

#[test]
fn the_configuration_wins_over_the_well_known_variable() {
    let mut bench = bench(EVERYTHING);
    let path = "models.providers.anthropic.apiKey";
    let problems = bench.store.load(vec![literal(path, "configured")]);
    assert!(problems.is_empty());
    assert_eq!(
        leased(&bench.store, "model-anthropic").as_deref(),
        Ok("configured")
    );
    assert_eq!(leased(&bench.store, "model-openai").as_deref(), Ok("o"));
    bench.store.load(vec![reference(path, "env", "MY_KEY")]);
    assert_eq!(leased(&bench.store, "model-anthropic").as_deref(), Ok("m"));
    bench.store.load(vec![]);
    assert_eq!(leased(&bench.store, "model-anthropic").as_deref(), Ok("a"));
}

#[test]
fn a_configured_secret_that_cannot_be_had_is_not_replaced_by_another() {
    for (entry, part) in [
        (("env", "NOT_SET"), "NOT_SET is not set"),
        (
            ("env", "CLAWDBOT_GATEWAY_TOKEN"),
            "CLAWDBOT_GATEWAY_TOKEN is not set",
        ),
        (("file", "none"), "does not exist"),
        (("keyring", "x"), "keyring yet"),
        (("systemd", "x"), "no service manager"),
        (("vault", "x"), "login --provider openai"),
    ] {
        let mut bench = bench(EVERYTHING);
        let problems = bench.store.load(vec![reference(
            "models.providers.openai.apiKey",
            entry.0,
            entry.1,
        )]);
        assert!(
            problems[0].message.contains(part),
            "{}",
            problems[0].message
        );
        assert_eq!(problems[0].config_path, "models.providers.openai.apiKey");
        let why = leased(&bench.store, "model-openai").unwrap_err();
        assert!(
            why.contains(part) && why.contains("models.providers.openai.apiKey"),
            "{why}"
        );
    }
}

#[test]
fn secrets_of_nobody_of_policy_and_of_later_features_are_refused_and_not_kept() {
    let mut bench = bench(b"");
    let paths = [
        "gateway.auth.token",
        "hooks.token",
        "gateway.remote.password",
        "channels.telegram.webhookSecret",
        "channels.telegram.accounts.work.webhookSecret",
        "channels.whatsapp.token",
        "nonsense",
        "",
    ];
    let problems = bench
        .store
        .load(paths.iter().map(|path| literal(path, "canary")).collect());
    assert_eq!(
        problems
            .iter()
            .map(|problem| problem.config_path.as_str())
            .collect::<Vec<_>>(),
        paths
    );
    assert!(
        problems
            .iter()
            .all(|problem| !problem.message.contains("canary"))
    );
    assert!(bench.store.list().is_empty());
    let odd = vec![
        v1::SecretEntry {
            config_path: "models.providers.openai.apiKey".to_owned(),
            source: None,
        },
        reference("models.providers.openai.apiKey", "exec", "x"),
    ];
    assert_eq!(bench.store.load(odd).len(), 2);
    assert!(bench.store.list().is_empty());
}

#[test]
fn a_file_of_the_secrets_folder_is_read_at_load() {
    let mut bench = bench(b"");
    let path = bench.folder.path().join("openai");
    let mut load = |value: &str| {
        fs::write(&path, value).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        bench.store.load(vec![reference(
            "models.providers.openai.apiKey",
            "file",
            "openai",
        )]);
        (
            leased(&bench.store, "model-openai").unwrap(),
            version_of(&bench.store, "model-openai"),
        )
    };
    let (first, second, again) = (load("one\n"), load("two"), load("one"));
    assert_eq!((first.0.as_str(), second.0.as_str()), ("one", "two"));
    assert_ne!(first.1, second.1);
    assert_eq!(first, again);
}

#[test]
fn a_version_changes_with_the_secret_only() {
    let with = |environment: &[u8]| bench(environment).store;
    let one = with(b"OPENAI_API_KEY=k\0OLLAMA_API_KEY=k");
    assert_eq!(
        version_of(&one, "model-openai"),
        version_of(&with(b"OPENAI_API_KEY=k"), "model-openai")
    );
    assert_ne!(
        version_of(&one, "model-openai"),
        version_of(&with(b"OPENAI_API_KEY=K"), "model-openai")
    );
    assert_ne!(
        version_of(&one, "model-openai"),
        version_of(&one, "model-ollama")
    );
}

#[test]
fn who_has_no_secret_is_told_how_to_set_it() {
    let bench = bench(b"");
    for (who, parts) in [
        (
            "model-anthropic",
            &[
                "ANTHROPIC_API_KEY",
                "models.providers.anthropic.apiKey",
                "clawdbot login --provider anthropic",
            ][..],
        ),
        (
            "model-my-llm",
            &["models.providers.my-llm.apiKey", "--provider my-llm"],
        ),
        (
            "channel-telegram",
            &[
                "TELEGRAM_BOT_TOKEN",
                "channels.telegram.botToken",
                "--channel telegram",
            ],
        ),
        ("channel-signal", &["needs no secret"]),
    ] {
        let why = leased(&bench.store, who).unwrap_err();
        assert!(parts.iter().all(|part| why.contains(part)), "{why}");
    }
}

#[test]
fn names_are_told_and_values_are_not() {
    let mut bench = bench(EVERYTHING);
    let asked = ["MY_KEY", "PATH", "CLAWDBOT_GATEWAY_TOKEN", "NOT_SET", ""]
        .map(str::to_owned)
        .to_vec();
    assert_eq!(bench.store.set_names(asked), ["MY_KEY", "PATH"]);
    bench.store.load(vec![
        literal("models.providers.openai.apiKey", "canary"),
        reference("channels.discord.token", "env", "NOT_SET"),
    ]);
    let list = bench.store.list();
    let row = |name: &str| {
        list.iter()
            .find(|credential| credential.name == name)
            .map(|c| (c.owner.as_str(), c.source.as_str(), c.present))
    };
    assert_eq!(
        row("models.providers.openai.apiKey"),
        Some(("model-openai", "config", true))
    );
    assert_eq!(
        row("channels.discord.token"),
        Some(("channel-discord", "config", false))
    );
    assert_eq!(
        row("ANTHROPIC_API_KEY"),
        Some(("model-anthropic", "environment", true))
    );
    assert_eq!(row("CLAWDBOT_GATEWAY_TOKEN"), None);
    assert_eq!(row("PATH"), None);
    assert!(!format!("{list:?}").contains("canary"));
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    { expected.iter() }
        .map(|(name, secret)| ((*name).to_owned(), (*secret).to_owned()))
        .collect()
}

#[test]
fn for_each_profile_the_configuration_wins_over_the_vault_and_the_vault_over_the_variable() {
    let mut bench = bench(EVERYTHING);
    let telegram = |store: &Store| all(store, "channel-telegram").unwrap();
    assert_eq!(telegram(&bench.store), pairs(&[("default", "t")]));
    with_vault(
        &mut bench,
        &[
            ("channel-telegram", "zoo", "vz"),
            ("channel-telegram", "default", "vd"),
            ("channel-telegram", "home", "vh"),
            ("model-anthropic", "default", "va"),
        ],
    );
    assert_eq!(
        telegram(&bench.store),
        pairs(&[("default", "vd"), ("home", "vh"), ("zoo", "vz")])
    );
    let shadow = |store: &Store, profile| store.shadowed_by(&role("channel-telegram"), profile);
    assert_eq!(shadow(&bench.store, "home"), None);
    bench.store.load(vec![
        literal("channels.telegram.botToken", "cd"),
        literal("channels.telegram.accounts.home.botToken", "ch"),
        literal("channels.telegram.accounts.extra.botToken", "ce"),
    ]);
    assert_eq!(
        telegram(&bench.store),
        pairs(&[
            ("default", "cd"),
            ("extra", "ce"),
            ("home", "ch"),
            ("zoo", "vz")
        ])
    );
    assert_eq!(
        shadow(&bench.store, "home").as_deref(),
        Some("channels.telegram.accounts.home.botToken")
    );
    assert_eq!(shadow(&bench.store, "zoo"), None);
    let source = |profile| bench.store.source_of(&role("channel-telegram"), profile);
    assert_eq!(
        (source("zoo"), source("home")),
        (Some("vault"), Some("config"))
    );
    assert_eq!(source("nobody"), None);
    assert_eq!(leased(&bench.store, "model-anthropic").as_deref(), Ok("va"));

    let list = bench.store.list();
    let used = |source: &str, owner: &str, profile: &str| {
        list.iter()
            .find(|c| c.source == source && c.owner == owner && c.profile == profile)
            .map(|c| c.in_use)
    };
    for (source, owner, profile, expected) in [
        ("config", "channel-telegram", "default", Some(true)),
        ("vault", "channel-telegram", "default", Some(false)),
        ("environment", "channel-telegram", "default", Some(false)),
        ("config", "channel-telegram", "home", Some(true)),
        ("vault", "channel-telegram", "home", Some(false)),
        ("vault", "channel-telegram", "zoo", Some(true)),
        ("vault", "model-anthropic", "default", Some(true)),
        ("environment", "model-anthropic", "default", Some(false)),
        ("environment", "model-openai", "default", Some(true)),
    ] {
        assert_eq!(
            used(source, owner, profile),
            expected,
            "{source} {owner} {profile}"
        );
    }
}

#[test]
fn a_profile_that_cannot_be_had_is_left_out_and_others_are_given() {
    let mut bench = bench(EVERYTHING);
    bench.store.load(vec![
        reference("channels.telegram.botToken", "env", "NOT_SET"),
        literal("channels.telegram.accounts.work.botToken", "w"),
    ]);
    assert_eq!(
        all(&bench.store, "channel-telegram").unwrap(),
        pairs(&[("work", "w")]),
        "and never the variable in the place of the setting"
    );
}

#[test]
fn a_setting_may_point_into_the_vault_of_its_own_owner() {
    let mut bench = bench(EVERYTHING);
    let path = "models.providers.openai.apiKey";
    with_vault(
        &mut bench,
        &[
            ("model-openai", "work", "vw"),
            ("model-openai", "play", "vp"),
            ("model-anthropic", "theirs", "va"),
        ],
    );
    let problems = bench.store.load(vec![reference(path, "vault", "work")]);
    assert!(problems.is_empty());
    assert_eq!(
        all(&bench.store, "model-openai").unwrap(),
        pairs(&[("default", "vw"), ("play", "vp")])
    );
    assert_eq!(bench.store.shadowed_by(&role("model-openai"), "work"), None);
    let row = |name: &str| bench.store.list().into_iter().find(|c| c.name == name);
    assert!(row("work").unwrap().in_use && row(path).unwrap().in_use);
    let problems = bench.store.load(vec![reference(path, "vault", "theirs")]);
    assert!(problems[0].message.contains("no profile \"theirs\""));
    let first = all(&bench.store, "model-openai").unwrap();
    assert_eq!(first, pairs(&[("play", "vp"), ("work", "vw")]));
}

#[test]
fn headers_go_along_and_one_that_is_missing_stops_the_lease() {
    let mut bench = bench(EVERYTHING);
    let path = |name: &str| format!("models.providers.openai.headers.{name}");
    let lease = |store: &Store| store.lease(&role("model-openai"));
    bench.store.load(vec![literal(&path("x-team"), "blue")]);
    let first = lease(&bench.store).ok().unwrap();
    assert_eq!(texts(&first.secrets), pairs(&[("default", "o")]));
    assert_eq!(texts(&first.headers), pairs(&[("x-team", "blue")]));
    bench.store.load(vec![literal(&path("x-team"), "red")]);
    assert_ne!(lease(&bench.store).ok().unwrap().version, first.version);
    bench
        .store
        .load(vec![reference(&path("x-team"), "env", "NOT_SET")]);
    let why = leased(&bench.store, "model-openai").unwrap_err();
    assert!(why.contains("x-team") && why.contains("NOT_SET"), "{why}");
    assert!(lease(&bench.store).is_err());

    // Headers alone are a lease, but they do not replace a key that cannot be had.
    let (own, key) = (
        "models.providers.own.headers.x-key",
        "models.providers.own.apiKey",
    );
    bench.store.load(vec![literal(own, "k")]);
    let alone = bench.store.lease(&role("model-own")).ok().unwrap();
    assert!(alone.secrets.is_empty());
    assert_eq!(texts(&alone.headers), pairs(&[("x-key", "k")]));
    assert_eq!(alone.version, version_of(&bench.store, "model-own"));
    assert_ne!(alone.version, 0);
    for entries in [
        vec![reference(own, "env", "NOT_SET")],
        vec![literal(own, "k"), reference(key, "env", "NOT_SET")],
    ] {
        bench.store.load(entries);
        let why = leased(&bench.store, "model-own").unwrap_err();
        assert!(why.contains("NOT_SET"), "{why}");
        assert_eq!(version_of(&bench.store, "model-own"), 0);
    }
}

#[test]
fn a_lease_names_whom_it_is_for_and_another_audience_is_another_lease() {
    let mut bench = bench(EVERYTHING);
    let lease = |store: &Store| store.lease(&role("model-openai")).ok().unwrap();
    let plain = lease(&bench.store);
    assert_eq!(plain.audience, "");
    let audience = |role: &str, audience: &str| v1::Audience {
        role: role.to_owned(),
        audience: audience.to_owned(),
    };
    bench.store.address(vec![
        audience("model-openai", "https://a.example"),
        audience("model-anthropic", "https://b.example"),
    ]);
    let first = lease(&bench.store);
    assert_eq!(first.audience, "https://a.example");
    assert_ne!(first.version, plain.version);
    assert_eq!(first.version, version_of(&bench.store, "model-openai"));

    // Another role's changes nothing here.
    bench
        .store
        .address(vec![audience("model-openai", "https://a.example")]);
    assert_eq!(lease(&bench.store).version, first.version);
    bench
        .store
        .address(vec![audience("model-openai", "https://c.example")]);
    assert_ne!(lease(&bench.store).version, first.version);
    bench.store.address(vec![]);
    assert_eq!(lease(&bench.store).audience, "");
}

#[test]
fn a_version_is_zero_without_a_secret_and_changes_with_every_profile() {
    let mut bench = bench(EVERYTHING);
    assert_eq!(version_of(&bench.store, "model-xai"), 0);
    let before = version_of(&bench.store, "model-openai");
    with_vault(&mut bench, &[("model-openai", "work", "x")]);
    let with = version_of(&bench.store, "model-openai");
    with_vault(&mut bench, &[("model-openai", "work", "x")]);
    let again = version_of(&bench.store, "model-openai");
    assert!(before != with && with != again && before != again && before != 0);
}
