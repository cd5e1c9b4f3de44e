//! The kernel's answer to an attempt, and the word for it in the table.

use std::io;

/// Permitted, or the error that it was answered with. An error without a number is the test's own fault.
pub type Answer = io::Result<()>;

macro_rules! names {
    ($($name:ident)*) => {
        /// The name of an error number, as in `errno.h`.
        #[must_use]
        pub fn errno_name(errno: i32) -> Option<&'static str> {
            match errno {
                $(libc::$name => Some(stringify!($name)),)*
                _ => None,
            }
        }
    };
}

names! {
    EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT ENOTBLK
    EBUSY EEXIST EXDEV ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE
    EROFS EMLINK EPIPE ERANGE EDEADLK ENAMETOOLONG ENOSYS ENOTEMPTY ELOOP ENODATA EPROTO ENOTSOCK
    EDESTADDRREQ EMSGSIZE EPROTOTYPE ENOPROTOOPT EPROTONOSUPPORT ESOCKTNOSUPPORT EOPNOTSUPP
    EPFNOSUPPORT EAFNOSUPPORT EADDRINUSE EADDRNOTAVAIL ENETDOWN ENETUNREACH ECONNABORTED ECONNRESET
    ENOBUFS EISCONN ENOTCONN ETIMEDOUT ECONNREFUSED EHOSTUNREACH EALREADY EINPROGRESS ESTALE EDQUOT
    ENOKEY EKEYEXPIRED EUSERS ECANCELED
}

/// The word in the table.
#[must_use]
pub fn word(answer: &Answer) -> String {
    match answer {
        Ok(()) => "worked".to_owned(),
        Err(error) => match error.raw_os_error() {
            Some(errno) => {
                errno_name(errno).map_or_else(|| format!("errno-{errno}"), str::to_owned)
            }
            None => format!("broken({error})"),
        },
    }
}

/// The first of these errors means that the permission was there and only what was asked for was
/// nonsense, on purpose: a control must not stop the machine.
pub(crate) fn reached(answer: io::Result<usize>, nonsense: &[i32]) -> Answer {
    match answer {
        Ok(_) => Ok(()),
        Err(error) if error.raw_os_error().is_some_and(|e| nonsense.contains(&e)) => Ok(()),
        Err(error) => Err(error),
    }
}
