//! Memory for secrets: out of reach for other processes where the kernel has such memory, else
//! locked and left out of dumps. Wiped when dropped; refuses to be copied, printed or compared.
#![allow(unsafe_code)]

use std::io;
use std::ptr::NonNull;

#[cfg(target_os = "linux")]
use rustix::mm::{Advice, madvise};
use rustix::mm::{MapFlags, ProtFlags, mlock, mmap_anonymous, munmap};
use zeroize::{Zeroize, Zeroizing};

/// What kind of memory a secret rests in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backing {
    /// `memfd_secret`: not in the kernel's direct map, not even root reads it from outside.
    Secret,
    /// Locked into memory, left out of dumps and of children.
    Locked,
    /// As `Locked`, but the limit of locked memory was reached: it may be written to swap.
    Unlocked,
}

impl Backing {
    pub(crate) const ALL: [Backing; 3] = [Backing::Secret, Backing::Locked, Backing::Unlocked];

    /// What a secret would get now, found by asking for a page.
    pub fn of_this_process() -> Self {
        LockedBytes::from_zeroizing(Zeroizing::new(vec![0]))
            .map_or(Backing::Unlocked, |page| page.kind())
    }

    /// One word for the status line.
    pub fn as_str(self) -> &'static str {
        match self {
            Backing::Secret => "secret",
            Backing::Locked => "locked",
            Backing::Unlocked => "unlocked",
        }
    }
}

/// Bytes in a mapping of their own. Lies on whole pages, so it is meant for tens of secrets, not
/// for thousands.
pub struct LockedBytes {
    address: NonNull<u8>,
    length: usize,
    mapped: usize,
    backing: Backing,
}

// SAFETY: the mapping has one owner, and shared references only read it.
unsafe impl Send for LockedBytes {}
// SAFETY: as above.
unsafe impl Sync for LockedBytes {}

impl LockedBytes {
    /// Moves bytes in; the source is wiped when it is dropped here.
    ///
    /// # Errors
    /// When no memory can be mapped.
    pub fn from_zeroizing(bytes: Zeroizing<Vec<u8>>) -> io::Result<Self> {
        let page = rustix::param::page_size();
        let mapped = bytes.len().max(1).next_multiple_of(page);
        let (address, backing) = map(mapped)?;
        // SAFETY: the mapping is writable, `mapped >= bytes.len()` long and does not overlap with a
        // Rust allocation.
        unsafe {
            address.copy_from_nonoverlapping(NonNull::from(bytes.as_slice()).cast(), bytes.len())
        };
        Ok(Self {
            address,
            length: bytes.len(),
            mapped,
            backing,
        })
    }

    /// Lends the bytes for the time of a call. What `use_bytes` copies out is its own to wipe.
    pub fn expose<R>(&self, use_bytes: impl FnOnce(&[u8]) -> R) -> R {
        // SAFETY: `length` initialised bytes lie at `address` as long as `self` lives, and nobody
        // writes them.
        use_bytes(unsafe { std::slice::from_raw_parts(self.address.as_ptr(), self.length) })
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.length
    }

    /// True for no bytes.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// What memory was got.
    pub fn kind(&self) -> Backing {
        self.backing
    }
}

impl LockedBytes {
    fn wipe(&mut self) {
        // SAFETY: the whole mapping is writable and ours, and nobody else refers to it.
        unsafe { std::slice::from_raw_parts_mut(self.address.as_ptr(), self.mapped) }.zeroize();
    }
}

impl Drop for LockedBytes {
    fn drop(&mut self) {
        self.wipe();
        // SAFETY: the mapping is ours and ends with its owner. A failure leaves wiped pages mapped,
        // which harms nobody.
        let _ = unsafe { munmap(self.address.as_ptr().cast(), self.mapped) };
    }
}

/// Maps zeroed pages of the best kind there is.
fn map(length: usize) -> io::Result<(NonNull<u8>, Backing)> {
    #[cfg(target_os = "linux")]
    if let Some(address) = map_secret(length) {
        return Ok((address, Backing::Secret));
    }
    // SAFETY: a new anonymous mapping at an address of the kernel's choice touches nothing else.
    let address = unsafe {
        mmap_anonymous(
            std::ptr::null_mut(),
            length,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::PRIVATE,
        )?
    };
    let pointer = NonNull::new(address.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
    // SAFETY: both act on the mapping made above and on its whole length; neither changes contents.
    let locked = unsafe {
        #[cfg(target_os = "linux")]
        for advice in [Advice::LinuxDontDump, Advice::LinuxWipeOnFork] {
            madvise(address, length, advice)?;
        }
        mlock(address, length).is_ok()
    };
    Ok((
        pointer,
        if locked {
            Backing::Locked
        } else {
            Backing::Unlocked
        },
    ))
}

/// `memfd_secret` (5.14; off before 6.5 unless the boot line asks for it; counts as locked memory).
#[cfg(target_os = "linux")]
fn map_secret(length: usize) -> Option<NonNull<u8>> {
    use std::os::fd::{FromRawFd, OwnedFd, RawFd};
    // SAFETY: no memory is passed; the flag is the one that the call knows.
    let raw = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
    let raw = RawFd::try_from(raw).ok().filter(|raw| *raw >= 0)?;
    // SAFETY: the kernel has just made this descriptor for us.
    let fd = unsafe { OwnedFd::from_raw_fd(raw) };
    rustix::fs::ftruncate(&fd, length as u64).ok()?;
    // SAFETY: a new mapping at an address of the kernel's choice; nobody else has the descriptor,
    // which is closed here, so nobody else can write the pages.
    unsafe {
        let flags = ProtFlags::READ | ProtFlags::WRITE;
        let address = rustix::mm::mmap(
            std::ptr::null_mut(),
            length,
            flags,
            MapFlags::SHARED,
            &fd,
            0,
        )
        .ok()?;
        // A shared mapping would otherwise stay readable in every child.
        if madvise(address, length, Advice::LinuxDontFork).is_err() {
            let _ = munmap(address, length);
            return None;
        }
        NonNull::new(address.cast())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_child::{Ended, in_child};

    fn locked(bytes: &[u8]) -> LockedBytes {
        LockedBytes::from_zeroizing(Zeroizing::new(bytes.to_vec())).unwrap()
    }

    #[test]
    fn bytes_come_back_as_they_went_in() {
        let long: Vec<u8> = (0..10_000).map(|i| (i % 256) as u8).collect();
        for bytes in [&b""[..], b"key", &long] {
            let secret = locked(bytes);
            assert_eq!(
                (secret.len(), secret.is_empty()),
                (bytes.len(), bytes.is_empty())
            );
            assert!(secret.expose(|seen| seen == bytes));
        }
    }

    #[test]
    fn a_forked_child_does_not_inherit_a_secret() {
        let secret = locked(b"a canary");
        let ended = in_child(|| secret.expose(|seen| i32::from(seen == b"a canary")));
        // Not mapped at all, or wiped.
        assert!(
            matches!(ended, Ended::Signal(libc::SIGSEGV) | Ended::Exit(0)),
            "{ended:?}"
        );
        assert_eq!(
            in_child(|| locked(b"a canary").expose(|seen| i32::from(seen == b"a canary"))).exit(),
            1
        );
    }

    /// The kind that a secret gets in a child whose kernel answers these calls with an error.
    #[cfg(target_os = "linux")]
    fn kind_without(calls: &[(i64, i32)]) -> Option<Backing> {
        let status = in_child(|| {
            crate::test_child::without(calls);
            let secret = locked(b"key");
            assert!(secret.expose(|seen| seen == b"key"));
            assert_eq!(secret.kind(), Backing::of_this_process());
            Backing::ALL
                .iter()
                .position(|kind| *kind == secret.kind())
                .map_or(9, |index| i32::try_from(index).unwrap())
        });
        Backing::ALL
            .get(usize::try_from(status.exit()).unwrap())
            .copied()
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn each_kernel_gives_the_best_memory_that_it_has() {
        let (secret, lock) = (libc::SYS_memfd_secret, libc::SYS_mlock);
        let here = kind_without(&[]);
        assert_ne!(here, Some(Backing::Unlocked));
        let old = [(secret, libc::ENOSYS)];
        assert_eq!(kind_without(&old), Some(Backing::Locked));
        let small = [(secret, libc::ENOSYS), (lock, libc::ENOMEM)];
        assert_eq!(kind_without(&small), Some(Backing::Unlocked));
        // Where there is the best, nothing is locked by hand.
        if here == Some(Backing::Secret) {
            assert_eq!(kind_without(&[(lock, libc::EPERM)]), here);
        }
    }

    #[test]
    fn what_is_wiped_is_wiped_to_the_last_byte_of_its_pages() {
        let mut secret = locked(&[7; 5000]);
        assert!(secret.expose(|seen| seen.iter().all(|byte| *byte == 7)));
        secret.wipe();
        assert!(secret.expose(|seen| seen.iter().all(|byte| *byte == 0)));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_secret_is_wiped_when_it_is_released() {
        let secret = locked(b"a canary");
        if secret.kind() != Backing::Secret {
            // Only shared pages can be looked at after their owner has gone.
            return;
        }
        let length = secret.mapped;
        // SAFETY: an old length of 0 maps the same shared pages a second time, at an address of the
        // kernel's choice; the new mapping is read below and stays to the end of the test.
        let alias = unsafe {
            let old = secret.address.as_ptr().cast::<libc::c_void>();
            libc::mremap(old, 0, length, libc::MREMAP_MAYMOVE)
        };
        assert_ne!(alias, libc::MAP_FAILED);
        // SAFETY: `length` bytes are mapped there, and read through a volatile pointer since their
        // owner changes them.
        let seen = |index: usize| unsafe { alias.cast::<u8>().add(index).read_volatile() };
        assert_eq!((0..8).map(seen).collect::<Vec<u8>>(), b"a canary");
        drop(secret);
        assert!((0..length).all(|index| seen(index) == 0));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn without_locked_memory_the_kind_says_so() {
        use rustix::process::{Resource, Rlimit, setrlimit};
        let status = in_child(|| {
            if rustix::process::geteuid().is_root() {
                crate::process::drop_to(65_534, 65_534).unwrap();
            }
            setrlimit(
                Resource::Memlock,
                Rlimit {
                    current: Some(0),
                    maximum: Some(0),
                },
            )
            .unwrap();
            let secret = locked(b"key");
            assert!(secret.expose(|seen| seen == b"key"));
            i32::from(secret.kind() != Backing::Unlocked)
        });
        assert_eq!(status.exit(), 0);
        assert_ne!(locked(b"key").kind(), Backing::Unlocked);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_secret_is_left_out_of_dumps() {
        let secret = locked(b"key");
        let start = format!("{:x}-", secret.address.as_ptr() as usize);
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let flags = maps.split(&start).nth(1).unwrap();
        let flags = flags
            .lines()
            .find(|line| line.starts_with("VmFlags:"))
            .unwrap();
        assert!(flags.split(' ').any(|flag| flag == "dd"), "{flags}");
        assert!(flags.split(' ').any(|flag| flag == "lo"), "{flags}");
    }
}
