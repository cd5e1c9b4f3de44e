use super::*;
use crate::test_child::in_child;
use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};

/// A folder with `inside/kept` and `outside/secret`.
fn folders() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, file) in [("inside", "kept"), ("outside", "secret")] {
        fs::create_dir(folder.path().join(name)).unwrap();
        fs::write(folder.path().join(name).join(file), "text").unwrap();
    }
    folder
}

fn refused<T>(result: io::Result<T>) -> bool {
    result.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

/// Runs `body` under the rules and fails if it says false.
#[track_caller]
fn under(rules: &[FileRule], body: impl FnOnce() -> bool) {
    let status = in_child(|| {
        assert!(restrict(rules, false).unwrap().files_enforced);
        i32::from(!body())
    });
    assert_eq!(status.exit(), 0);
}

#[test]
fn a_state_directory_can_be_worked_in_and_nothing_beside_it() {
    let folder = folders();
    let (inside, outside) = (folder.path().join("inside"), folder.path().join("outside"));
    assert!(fs::read(outside.join("secret")).is_ok());
    under(&[FileRule::path(&inside, Access::ReadWriteDir)], || {
        fs::write(inside.join("new"), "1").unwrap();
        fs::rename(inside.join("new"), inside.join("newer")).unwrap();
        fs::create_dir(inside.join("sub")).unwrap();
        fs::rename(inside.join("newer"), inside.join("sub/newer")).unwrap();
        File::options()
            .write(true)
            .truncate(true)
            .open(inside.join("kept"))
            .unwrap();
        fs::remove_file(inside.join("sub/newer")).unwrap();
        fs::remove_dir(inside.join("sub")).unwrap();
        assert_eq!(fs::read_dir(&inside).unwrap().count(), 1);
        refused(fs::read(outside.join("secret")))
            && refused(fs::read_dir(&outside))
            && refused(fs::write(outside.join("new"), "1"))
            && refused(fs::remove_file(outside.join("secret")))
            && fs::rename(inside.join("kept"), outside.join("kept")).is_err()
            && fs::hard_link(outside.join("secret"), inside.join("link")).is_err()
            && refused(std::os::unix::fs::symlink(&outside, inside.join("link")))
            && refused(std::os::unix::net::UnixListener::bind(
                inside.join("socket"),
            ))
            && refused(File::open("/proc/self/environ"))
    });
}

#[test]
fn each_access_gives_what_it_says_and_no_more() {
    let folder = folders();
    let (inside, outside) = (folder.path().join("inside"), folder.path().join("outside"));
    let kept = inside.join("kept");
    let write = || File::options().write(true).open(&kept);
    under(&[FileRule::path(&inside, Access::Read)], || {
        fs::read(&kept).is_ok() && refused(fs::read_dir(&inside)) && refused(write())
    });
    under(&[FileRule::path(&inside, Access::ReadDir)], || {
        fs::read_dir(&inside).is_ok() && refused(write()) && refused(fs::remove_file(&kept))
    });
    let open = || File::open(&inside).unwrap().into();
    under(&[FileRule::open(open(), Access::Read)], || {
        fs::read(&kept).is_ok() && refused(fs::read(outside.join("secret")))
    });
    under(&[FileRule::path(&inside, Access::RemoveFiles)], || {
        refused(fs::read(&kept)) && fs::remove_file(&kept).is_ok()
    });
}

#[test]
fn a_missing_path_is_named_unless_it_may_be_missing() {
    let folder = folders();
    let gone = folder.path().join("gone");
    let inside = folder.path().join("inside");
    let status = in_child(|| {
        let error = restrict(&[FileRule::path(&gone, Access::Read)], false).unwrap_err();
        assert!(
            error.to_string().contains(&gone.display().to_string()),
            "{error}"
        );
        let row = FileRow {
            place: crate::profile::Place::Path("/etc/nonsense"),
            access: Access::Read,
            optional: false,
            mode: None,
            source: "crates/confine/profiles/dialer.toml:27",
        };
        let error = restrict(&[FileRule::of_row(&row, "/etc/nonsense")], false).unwrap_err();
        let named = "crates/confine/profiles/dialer.toml:27: /etc/nonsense: no such file";
        assert!(error.to_string().starts_with(named), "{error}");
        let attempt_again = |error| crate::ConfineError::Files(error).is_transient();
        assert!(attempt_again(error));
        let below_a_file = FileRule::path(inside.join("kept/x"), Access::Read).if_present();
        let error = restrict(&[below_a_file], false).unwrap_err();
        assert!(!attempt_again(error));
        let file = FileRule::path(inside.join("kept"), Access::ReadWriteDir);
        assert!(matches!(
            restrict(&[file], false),
            Err(LandlockError::Access { .. })
        ));
        // Neither of the two failures has confined anything.
        assert!(fs::read(inside.join("kept")).is_ok());
        restrict(&[FileRule::path(&gone, Access::Read).if_present()], false).unwrap();
        i32::from(!refused(fs::read(inside.join("kept"))))
    });
    assert_eq!(status.exit(), 0);
}

#[test]
fn only_what_is_absent_or_out_of_reach_is_left_out() {
    let rule = FileRule::path("/a", Access::Read);
    let answers = [
        (libc::ENOENT, true),
        (libc::EACCES, true),
        (libc::ENOTDIR, false),
        (libc::EIO, false),
    ];
    for (errno, left_out) in answers {
        let error = io::Error::from_raw_os_error(errno);
        assert!(!rule.may_be_left_out(&error));
        let optional = FileRule::path("/a", Access::Read).if_present();
        assert_eq!(optional.may_be_left_out(&error), left_out, "{errno}");
    }
}

#[test]
fn the_network_is_closed_but_for_who_may_connect() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    for connect in [false, true] {
        let status = in_child(|| {
            let status = restrict(&[], connect).unwrap();
            if !status.net_enforced {
                return 0;
            }
            let connected = TcpStream::connect(address);
            assert_eq!(connected.is_ok(), connect);
            assert!(connect || refused(connected));
            i32::from(!refused(TcpListener::bind("127.0.0.1:0")))
        });
        assert_eq!(status.exit(), 0);
    }
}

#[test]
fn signals_stay_inside_where_the_kernel_can_scope_them() {
    let parent = rustix::process::Pid::from_raw(std::process::id().cast_signed()).unwrap();
    let probe = || rustix::process::test_kill_process(parent);
    assert_eq!(in_child(|| i32::from(probe().is_err())).exit(), 0);
    let status = in_child(|| {
        let scoped = restrict(&[], false).unwrap().scoped;
        i32::from(scoped != probe().is_err())
    });
    assert_eq!(status.exit(), 0);
}
