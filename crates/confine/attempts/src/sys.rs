//! Raw calls. The only unsafe code of the attempts that is not assembly.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};

/// A call by its number.
///
/// What an attempt passes as a pointer is the address of a value of its own that lives until the call
/// returns, with the length that the call reads or writes, or an address that is wrong on purpose,
/// which the kernel answers with EFAULT.
pub(crate) fn call(number: libc::c_long, arguments: &[usize]) -> io::Result<usize> {
    let mut all = [0; 6];
    for (place, argument) in all.iter_mut().zip(arguments) {
        *place = *argument;
    }
    let [a, b, c, d, e, f] = all;
    // SAFETY: see above; attempts that change the process itself (its memory's protection, its
    // namespaces, its program) end it when they succeed.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// A call whose value does not matter.
pub(crate) fn done(number: libc::c_long, arguments: &[usize]) -> io::Result<()> {
    call(number, arguments).map(|_| ())
}

/// A call that makes a descriptor.
pub(crate) fn fd(number: libc::c_long, arguments: &[usize]) -> io::Result<OwnedFd> {
    let raw = call(number, arguments)?;
    let raw = RawFd::try_from(raw).map_err(io::Error::other)?;
    // SAFETY: the kernel made this number just now, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// The address of a value.
pub(crate) fn at<T: ?Sized>(value: &T) -> usize {
    std::ptr::from_ref(value).cast::<u8>() as usize
}

/// The address of a value that the kernel writes.
pub(crate) fn at_mut<T: ?Sized>(value: &mut T) -> usize {
    std::ptr::from_mut(value).cast::<u8>() as usize
}

/// The address of a text.
pub(crate) fn text(text: &CStr) -> usize {
    text.as_ptr() as usize
}

/// A number as an argument, sign and all.
pub(crate) fn int(value: impl Into<i64>) -> usize {
    value.into() as usize
}

/// A path as the kernel wants it.
pub(crate) fn path(path: &str) -> io::Result<CString> {
    CString::new(path).map_err(io::Error::other)
}

/// Forks with these flags. The child, if there is one, ends at once, and is waited for.
pub(crate) fn child(flags: i32) -> io::Result<()> {
    let pid = call(libc::SYS_clone, &[int(flags | libc::SIGCHLD)])?;
    if pid == 0 {
        // SAFETY: runs no destructor of the parent's.
        unsafe { libc::_exit(0) }
    }
    collect(pid);
    Ok(())
}

/// Waits for a child. That it cannot be waited for changes nothing about its having been made.
pub(crate) fn collect(pid: usize) {
    let _gone = call(libc::SYS_wait4, &[pid, 0, int(libc::__WALL), 0]);
}
