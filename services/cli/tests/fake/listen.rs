//! A server on an operator's socket.

use std::path::Path;
use std::thread;

use clawdbot_identity::Role;
use clawdbot_service::{Router, serve_stream};
use tokio::net::UnixListener;

/// Serves the operators on `socket`, which listens when this returns, until the test ends.
pub fn listen(socket: &Path, server: &'static str, router: Router) {
    std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
    let listener = std::os::unix::net::UnixListener::bind(socket).unwrap();
    listener.set_nonblocking(true).unwrap();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let listener = UnixListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let role = |name| Role::parse(name).unwrap();
                tokio::spawn(serve_stream(
                    stream,
                    role("operator"),
                    role(server),
                    router.clone(),
                ));
            }
        });
    });
}
