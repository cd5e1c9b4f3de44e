use std::os::unix::net::UnixDatagram;

use super::*;
use crate::callers::Callers;
use crate::inherit::Brought;
use crate::notify::Target;

const PARTIAL: &str = "level=partial landlock=0 seccomp=on filters=5 nnp=on caps=off dumpable=off core=0 env=0 strays=0 net=own memory=secret missing=landlock";

/// A process that a service manager started and that measured `confinement`, and who hears it.
fn managed(confinement: &str, termination: Option<OwnedFd>) -> (Context, UnixDatagram) {
    let (near, far) = UnixDatagram::pair().unwrap();
    far.set_nonblocking(true).unwrap();
    let way = Way::Sockets {
        runtime: "/nonexistent".into(),
        callers: Callers::this_user(false),
    };
    (process(way, confinement, termination, near), far)
}

fn process(
    way: Way,
    confinement: &str,
    termination: Option<OwnedFd>,
    notify: UnixDatagram,
) -> Context {
    let inherited = Inherited {
        role: Role::gateway(),
        setup: clawdbot_proto::v1::Setup::default(),
        notifier: Notifier::new(Target::Manager(notify)),
        way,
        orphaned: Arc::default(),
        brought: Brought::default(),
        warnings: Vec::new(),
    };
    let confinement = Confinement::parse_line(confinement).unwrap();
    Context::new(inherited, &confinement, termination).unwrap()
}

fn said(far: &UnixDatagram) -> String {
    let mut all = String::new();
    let mut line = [0; 4096];
    while let Ok(length) = far.recv(&mut line) {
        all.push_str(std::str::from_utf8(&line[..length]).unwrap());
        all.push('\n');
    }
    all
}

fn is_over(ctx: &Context) -> bool {
    *ctx.0.shutdown.borrow()
}

#[tokio::test]
async fn what_policy_says_is_enough_confinement_ends_whoever_has_less() {
    let (ctx, far) = managed(PARTIAL, None);
    ctx.ready("working");
    for fine in ["available", "", "unheard of"] {
        ctx.obey("info", fine);
        assert!(!is_over(&ctx) && ctx.refusal().is_none(), "{fine}");
    }
    let ready = said(&far);
    assert!(
        ready.contains(&format!("STATUS=working | {PARTIAL} version=")),
        "{ready}"
    );
    ctx.obey("info", "full");
    let refusal = ctx.refusal().unwrap();
    assert_eq!(refusal.code(), 78);
    ctx.shutdown().wait().await;
    let status = said(&far);
    for words in ["STATUS=sandbox.require is \"full\"", "gateway", "landlock"] {
        assert!(status.contains(words), "{status}");
    }
    let (full, _far) = managed(
        &PARTIAL
            .replace("level=partial", "level=full")
            .replace(" missing=landlock", ""),
        None,
    );
    full.obey("info", "full");
    assert!(!is_over(&full) && full.refusal().is_none());
}

#[tokio::test]
async fn the_supervisor_s_processes_leave_that_to_the_supervisor() {
    let (control, _supervisor) = StdStream::pair().unwrap();
    let way = Way::Control {
        stream: control,
        reader: clawdbot_confine::frame::FrameReader::new(),
    };
    let (near, _far) = UnixDatagram::pair().unwrap();
    let ctx = process(way, PARTIAL, None, near);
    ctx.obey("info", "full");
    assert!(!is_over(&ctx) && ctx.refusal().is_none());
    assert!(!ctx.is_managed());
}

#[tokio::test]
async fn who_has_nothing_to_do_ends_in_good_order_and_says_why() {
    let (ctx, far) = managed(PARTIAL, None);
    ctx.finish("no account");
    ctx.shutdown().wait().await;
    assert!(ctx.refusal().is_none());
    let status = said(&far);
    assert!(status.contains("STATUS=no account | level="), "{status}");
}

#[tokio::test]
async fn the_manager_s_wish_ends_the_process_which_says_that_it_stops() {
    let (wish, mut signal) = std::io::pipe().unwrap();
    let (ctx, far) = managed(PARTIAL, Some(wish.into()));
    tokio::task::yield_now().await;
    assert!(!is_over(&ctx));
    std::io::Write::write_all(&mut signal, &[15]).unwrap();
    ctx.shutdown().wait().await;
    assert!(said(&far).contains("STOPPING=1"));
}

#[tokio::test(start_paused = true)]
async fn work_that_does_not_end_is_left_after_a_while_and_not_before_the_wish() {
    let (ctx, _far) = managed(PARTIAL, None);
    let early = tokio::time::timeout(100 * DRAIN, ctx.out_of_patience());
    assert!(early.await.is_err());
    ctx.finish("over");
    let soon = tokio::time::timeout(DRAIN / 2, ctx.out_of_patience());
    assert!(soon.await.is_err());
    ctx.out_of_patience().await;
}
