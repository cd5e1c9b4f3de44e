use super::*;

const GOOD: Found = Found {
    landlock_abi: 7,
    seccomp: true,
    no_new_privs: true,
    dumpable: false,
    core_limit: 0,
    filters: 5,
    capabilities: false,
    variables: 0,
    strays: 0,
    network: Network::Own,
    memory: Some(Backing::Secret),
    mapped: true,
    measured: true,
    filter: true,
    own_network: true,
    sockets: false,
    socket_lock: true,
};

#[test]
fn full_means_that_nothing_is_missing_that_safety_rests_on() {
    let rows: [(Found, Level, &[&str]); 18] = [
        (GOOD, Level::Full, &[]),
        // The floor: Debian 12's stock kernel.
        (
            Found {
                landlock_abi: 2,
                ..GOOD
            },
            Level::Full,
            &[],
        ),
        (
            Found {
                landlock_abi: 1,
                ..GOOD
            },
            Level::Partial,
            &["landlock-2"],
        ),
        (
            Found {
                landlock_abi: 0,
                ..GOOD
            },
            Level::Partial,
            &["landlock"],
        ),
        (
            Found {
                seccomp: false,
                ..GOOD
            },
            Level::Partial,
            &["seccomp"],
        ),
        (
            Found {
                landlock_abi: 0,
                seccomp: false,
                ..GOOD
            },
            Level::Limits,
            &["landlock", "seccomp"],
        ),
        (
            Found {
                dumpable: true,
                ..GOOD
            },
            Level::Partial,
            &["dumpable"],
        ),
        (
            Found {
                core_limit: 1,
                no_new_privs: false,
                ..GOOD
            },
            Level::Partial,
            &["no-new-privs", "core"],
        ),
        (
            Found {
                measured: false,
                ..GOOD
            },
            Level::Partial,
            &["proc"],
        ),
        (
            Found {
                filter: false,
                landlock_abi: 0,
                seccomp: false,
                ..GOOD
            },
            Level::Limits,
            &[],
        ),
        (
            Found {
                landlock_abi: 2,
                sockets: true,
                ..GOOD
            },
            Level::Partial,
            &["landlock-net", "landlock-unix"],
        ),
        // What an empty network of its own closes too is not missing because landlock is old.
        (
            Found {
                landlock_abi: 2,
                sockets: true,
                network: Network::Host,
                ..GOOD
            },
            Level::Partial,
            &[
                "network-namespace",
                "landlock-net",
                "landlock-scope",
                "landlock-unix",
            ],
        ),
        // The host's network is where the dialer belongs.
        (
            Found {
                own_network: false,
                network: Network::Host,
                memory: None,
                ..GOOD
            },
            Level::Full,
            &[],
        ),
        (
            Found {
                capabilities: true,
                variables: 1,
                strays: 2,
                ..GOOD
            },
            Level::Partial,
            &["capabilities", "environment", "descriptors"],
        ),
        (
            Found {
                memory: Some(Backing::Locked),
                ..GOOD
            },
            Level::Full,
            &["secret-memory"],
        ),
        (
            Found {
                memory: Some(Backing::Unlocked),
                ..GOOD
            },
            Level::Partial,
            &["locked-memory"],
        ),
        (
            Found {
                mapped: false,
                ..GOOD
            },
            Level::Full,
            &["id-map"],
        ),
        (
            Found {
                socket_lock: false,
                ..GOOD
            },
            Level::Full,
            &["socket-lock"],
        ),
    ];
    for (found, level, missing) in rows {
        let confinement = Confinement::of(found);
        let names: Vec<&str> = confinement.missing.iter().map(|row| row.what).collect();
        assert_eq!(
            (confinement.level, names.as_slice()),
            (level, missing),
            "{found:?}"
        );
        assert_eq!(confinement.is_full(), level == Level::Full);
    }
}

#[test]
fn a_line_is_read_back_as_it_was_written() {
    let all = [
        Confinement::of(GOOD),
        Confinement::of(Found {
            landlock_abi: 0,
            dumpable: true,
            ..GOOD
        }),
        Confinement::of(Found {
            core_limit: u64::MAX,
            ..GOOD
        }),
        Confinement::of(Found {
            memory: None,
            network: Network::Host,
            variables: 3,
            strays: 1,
            ..GOOD
        }),
        Confinement::none(5),
    ];
    for confinement in all {
        let line = confinement.to_line();
        assert!(!line.contains('\n'));
        assert_eq!(Confinement::parse_line(&line), Some(confinement.clone()));
        let longer = format!("serving {line} sessions=3");
        assert_eq!(Confinement::parse_line(&longer), Some(confinement));
    }
    assert_eq!(
        Confinement::of(GOOD).to_line(),
        "level=full landlock=7 seccomp=on filters=5 nnp=on caps=off dumpable=off core=0 env=0 strays=0 net=own memory=secret"
    );
}

#[test]
fn what_is_no_confinement_line_is_not_taken_for_one() {
    let line = Confinement::of(GOOD).to_line();
    let wrong = [
        String::new(),
        "ready".to_owned(),
        line.replace("full", "fuller"),
        line.replace("landlock=7", "landlock=700"),
        line.replace("nnp=on", "nnp=1"),
        line.replace("core=0", ""),
        line.replace("net=own", "net=none"),
        line.replace("memory=secret", "memory=swap"),
        line.replace("env=0", "env=-1"),
        format!("{line} missing=nonsense"),
    ];
    for line in wrong {
        assert_eq!(Confinement::parse_line(&line), None, "{line}");
    }
}

#[test]
fn every_gap_has_a_name_of_its_own_a_meaning_and_a_remedy() {
    for (index, missing) in MISSING.iter().enumerate() {
        assert!(!missing.meaning.is_empty(), "{}", missing.what);
        assert!(!missing.remedy.is_empty(), "{}", missing.what);
        let first = MISSING.iter().position(|other| other.what == missing.what);
        assert_eq!(first, Some(index), "{}", missing.what);
    }
}
