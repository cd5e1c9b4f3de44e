//! Descriptors: which ones a process keeps, and where an owned one comes from. A number is turned
//! into an owner in one place, so that a descriptor nobody passed is refused and not guessed.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
use zeroize::Zeroizing;

/// Takes ownership of an inherited descriptor by its number and marks it close-on-exec.
///
/// For the numbers that a service manager or the supervisor announced, once each, before anything
/// else was opened.
///
/// # Errors
/// `InvalidInput` for standard streams and negative numbers, `EBADF` when the number is not open.
pub fn take(raw: RawFd) -> io::Result<OwnedFd> {
    if raw < 3 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "descriptor {raw} is a standard stream or no descriptor; inherited ones start at 3"
            ),
        ));
    }
    // SAFETY: the borrow ends with this call, and F_GETFD on a closed number is answered with EBADF.
    fcntl_getfd(unsafe { BorrowedFd::borrow_raw(raw) })?;
    // SAFETY: the number is open (checked above) and was handed to this process for it to own;
    // callers take each announced number once, before other code could own it.
    let fd = unsafe { OwnedFd::from_raw_fd(raw) };
    set_cloexec(&fd)?;
    Ok(fd)
}

/// Marks a descriptor close-on-exec.
///
/// # Errors
/// The kernel's answer to F_SETFD.
pub fn set_cloexec(fd: impl AsFd) -> io::Result<()> {
    let fd = fd.as_fd();
    fcntl_setfd(fd, fcntl_getfd(fd)? | FdFlags::CLOEXEC)?;
    Ok(())
}

/// Closes every descriptor from 3 up that is not in `keep`.
///
/// For the first step of a process, when nothing but the standard streams and the inherited
/// descriptors is open: an owner of a descriptor closed here would later close somebody else's.
///
/// # Errors
/// When neither `close_range` nor a list of the open descriptors is to be had.
pub fn close_from(keep: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut kept: Vec<RawFd> = keep.iter().map(AsRawFd::as_raw_fd).collect();
    kept.sort_unstable();
    kept.dedup();
    if close_gaps(&kept) {
        return Ok(());
    }
    for raw in open_numbers()? {
        if raw >= 3 && kept.binary_search(&raw).is_err() {
            // SAFETY: by the contract of `close_from` nobody owns this number.
            unsafe { libc::close(raw) };
        }
    }
    Ok(())
}

/// Closes the gaps between the kept descriptors; false where the kernel lacks the call (before 5.9).
#[cfg(target_os = "linux")]
fn close_gaps(kept: &[RawFd]) -> bool {
    let mut first: libc::c_uint = 3;
    let ends = kept
        .iter()
        .filter(|raw| **raw >= 3)
        .map(|raw| raw.unsigned_abs());
    for end in ends.chain([libc::c_uint::MAX]) {
        let last = if end == libc::c_uint::MAX {
            end
        } else {
            end - 1
        };
        // SAFETY: by the contract of `close_from` nobody owns a number in this gap; no memory is
        // passed.
        if first <= last && unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } != 0 {
            return false;
        }
        first = end.saturating_add(1);
    }
    true
}

#[cfg(not(target_os = "linux"))]
fn close_gaps(_kept: &[RawFd]) -> bool {
    false
}

/// How many descriptors from 3 up would survive an exec. Whatever a process opens or takes over is
/// closed by one, so these are what somebody left behind.
///
/// # Errors
/// As [`open_numbers`].
pub fn strays() -> io::Result<u32> {
    let survives = |raw: &RawFd| {
        // SAFETY: the borrow ends with this call, and F_GETFD on a closed number answers EBADF.
        let flags = fcntl_getfd(unsafe { BorrowedFd::borrow_raw(*raw) });
        flags.is_ok_and(|flags| !flags.contains(FdFlags::CLOEXEC))
    };
    let numbers = open_numbers()?;
    let strays = numbers.iter().filter(|raw| **raw >= 3 && survives(raw));
    Ok(u32::try_from(strays.count()).unwrap_or(u32::MAX))
}

/// The numbers of all open descriptors, in ascending order.
///
/// # Errors
/// When the directory that lists them (`/proc/self/fd`, `/dev/fd`) cannot be read.
pub fn open_numbers() -> io::Result<Vec<RawFd>> {
    let folder = if cfg!(target_os = "linux") {
        "/proc/self/fd"
    } else {
        "/dev/fd"
    };
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        if let Some(raw) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        {
            numbers.push(raw);
        }
    }
    // The list holds the descriptor that read it, which is closed by now.
    numbers.retain(|raw| {
        // SAFETY: the borrow ends with this call, and F_GETFD on a closed number answers EBADF.
        fcntl_getfd(unsafe { BorrowedFd::borrow_raw(*raw) }).is_ok()
    });
    numbers.sort_unstable();
    Ok(numbers)
}

/// Bytes as a descriptor that can be handed to a child: read-only, sealed, at offset 0, never on a
/// disk. Read it with [`read_all`].
///
/// # Errors
/// The kernel's answer; where there is no memfd (macOS), `FileTooLarge` above a pipe's capacity.
#[cfg(target_os = "linux")]
pub fn memfd(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    use rustix::fs::{MemfdFlags, SealFlags, SeekFrom, fcntl_add_seals, memfd_create, seek};
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // A memory file that can never be executed, where the kernel knows such (6.3).
    let fd = memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL)
        .or_else(|_| memfd_create(name, flags))?;
    write_all(&fd, bytes)?;
    fcntl_add_seals(
        &fd,
        SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL,
    )?;
    seek(&fd, SeekFrom::Start(0))?;
    Ok(fd)
}

/// See the Linux form: here a pipe that holds all the bytes.
#[cfg(not(target_os = "linux"))]
pub fn memfd(_name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    let (reader, writer) = rustix::pipe::pipe()?;
    set_cloexec(&reader)?;
    set_cloexec(&writer)?;
    rustix::io::ioctl_fionbio(&writer, true)?;
    write_all(&writer, bytes).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::FileTooLarge.into(),
        _ => error,
    })?;
    Ok(reader)
}

fn write_all(fd: &OwnedFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Reads a descriptor to its end into memory that is wiped when it is dropped and never moved while
/// it grows.
///
/// # Errors
/// `FileTooLarge` when there are more than `max` bytes; the kernel's answer otherwise.
pub fn read_all(fd: impl AsFd, max: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(max.saturating_add(1)));
    loop {
        let space = bytes.capacity() - bytes.len();
        if bytes.len() > max || space == 0 {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("more than {max} bytes behind an inherited descriptor"),
            ));
        }
        match rustix::io::read(fd.as_fd(), rustix::buffer::spare_capacity(&mut bytes)) {
            Ok(0) => return Ok(bytes),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_child::in_child;
    use std::fs::File;
    use std::os::fd::IntoRawFd;

    #[test]
    fn only_the_kept_descriptors_survive() {
        let status = in_child(|| {
            let files: Vec<File> = (0..6).map(|_| File::open("/dev/null").unwrap()).collect();
            let kept = [files[1].as_fd(), files[4].as_fd()];
            let numbers = [kept[0].as_raw_fd(), kept[1].as_raw_fd()];
            close_from(&kept).unwrap();
            let left: Vec<RawFd> = open_numbers()
                .unwrap()
                .into_iter()
                .filter(|raw| *raw >= 3)
                .collect();
            std::mem::forget(files);
            i32::from(left != numbers)
        });
        assert_eq!(status.exit(), 0);
    }

    #[test]
    fn nothing_to_keep_closes_everything_above_the_standard_streams() {
        let status = in_child(|| {
            std::mem::forget(File::open("/dev/null").unwrap());
            close_from(&[]).unwrap();
            i32::from(open_numbers().unwrap().iter().any(|raw| *raw >= 3))
        });
        assert_eq!(status.exit(), 0);
    }

    #[test]
    fn a_number_is_taken_only_when_it_is_open() {
        let status = in_child(|| {
            let raw = File::open("/dev/null").unwrap().into_raw_fd();
            rustix::io::fcntl_setfd(unsafe { BorrowedFd::borrow_raw(raw) }, FdFlags::empty())
                .unwrap();
            let fd = take(raw).unwrap();
            let closes = fcntl_getfd(&fd).unwrap().contains(FdFlags::CLOEXEC);
            drop(fd);
            let gone = take(raw).unwrap_err().raw_os_error() == Some(libc::EBADF);
            let stdin = take(0).unwrap_err().kind() == io::ErrorKind::InvalidInput;
            i32::from(!(closes && gone && stdin))
        });
        assert_eq!(status.exit(), 0);
    }

    #[test]
    fn handed_over_bytes_arrive_whole_and_cannot_be_changed() {
        let fd = memfd("test", b"NAME=value\0").unwrap();
        assert!(rustix::io::write(&fd, b"x").is_err());
        assert_eq!(read_all(&fd, 11).unwrap().as_slice(), b"NAME=value\0");
        let long = memfd("test", b"NAME=value\0").unwrap();
        assert_eq!(
            read_all(&long, 10).unwrap_err().kind(),
            io::ErrorKind::FileTooLarge
        );
    }
}
