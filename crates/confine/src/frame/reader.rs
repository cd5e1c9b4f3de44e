//! The reading half: a state machine fed by `recvmsg`. It never reads beyond the frame it is in,
//! so a descriptor that arrives belongs to that frame and to no other.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};

use super::{HEADER, MAX_DESCRIPTORS, Violation, check};

/// A complete frame.
#[derive(Debug, Default)]
pub struct Frame {
    /// The message, at most [`super::MAX_PAYLOAD`] bytes.
    pub payload: Vec<u8>,
    /// The descriptors that came with it, close-on-exec.
    pub fds: Vec<OwnedFd>,
}

/// What a call of [`FrameReader::read_from`] found.
#[derive(Debug)]
pub enum Progress {
    /// One whole frame; there may be more to read.
    Frame(Frame),
    /// The peer closed the connection between two frames.
    Closed,
}

/// Collects one frame after the other from a connection.
#[derive(Debug, Default)]
pub struct FrameReader {
    header: [u8; HEADER],
    header_filled: usize,
    payload: Vec<u8>,
    payload_filled: usize,
    fds: Vec<OwnedFd>,
    broken: bool,
}

impl FrameReader {
    /// A reader at the border between two frames.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads until a frame is complete or the connection has ended. On a blocking socket it waits;
    /// on a non-blocking one it answers `WouldBlock`, keeps what it has and goes on at the next
    /// call (fit for tokio's `try_io`).
    ///
    /// # Errors
    /// `WouldBlock`; the kernel's answers; `InvalidData` around a [`Violation`], after which the
    /// reader answers [`Violation::Broken`] for ever.
    pub fn read_from(&mut self, socket: impl AsFd) -> io::Result<Progress> {
        if self.broken {
            return Err(Violation::Broken.into());
        }
        let result = self.advance(socket.as_fd());
        if result
            .as_ref()
            .is_err_and(|error| Violation::of(error).is_some())
        {
            *self = Self {
                broken: true,
                ..Self::default()
            };
        }
        result
    }

    fn advance(&mut self, socket: std::os::fd::BorrowedFd<'_>) -> io::Result<Progress> {
        loop {
            let in_header = self.header_filled < HEADER;
            let target = if in_header {
                self.header.get_mut(self.header_filled..)
            } else {
                self.payload.get_mut(self.payload_filled..)
            };
            let target = target.unwrap_or_default();
            if !target.is_empty() {
                let read = receive(socket, target, &mut self.fds)?;
                if read == 0 {
                    if self.header_filled == 0 && self.fds.is_empty() {
                        return Ok(Progress::Closed);
                    }
                    return Err(Violation::Cut.into());
                }
                if in_header {
                    self.header_filled += read;
                    if self.header_filled == HEADER {
                        self.payload = vec![0; self.announced_length()?];
                    }
                } else {
                    self.payload_filled += read;
                }
            }
            if self.header_filled == HEADER {
                self.check_descriptors()?;
                if self.payload_filled == self.payload.len() {
                    let done = std::mem::take(self);
                    return Ok(Progress::Frame(Frame {
                        payload: done.payload,
                        fds: done.fds,
                    }));
                }
            }
        }
    }

    fn announced_length(&self) -> Result<usize, Violation> {
        let [a, b, c, d, count] = self.header;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        check(length, usize::from(count))?;
        Ok(length)
    }

    /// They travel with the first byte, so all of them are here when the header is.
    fn check_descriptors(&self) -> Result<(), Violation> {
        let [.., count] = self.header;
        let announced = usize::from(count);
        let received = self.fds.len();
        if announced == received {
            Ok(())
        } else {
            Err(Violation::DescriptorCount {
                announced,
                received,
            })
        }
    }
}

/// One `recvmsg`: fills the front of `target`, appends what descriptors came along.
fn receive(
    socket: std::os::fd::BorrowedFd<'_>,
    target: &mut [u8],
    fds: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    // Room for the allowed number and, by alignment, one or two more; beyond that the kernel reports
    // a truncation. Either is refused below.
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    #[cfg(target_os = "linux")]
    let flags = RecvFlags::CMSG_CLOEXEC;
    #[cfg(not(target_os = "linux"))]
    let flags = RecvFlags::empty();
    let received = loop {
        match recvmsg(
            socket,
            &mut [IoSliceMut::new(&mut *target)],
            &mut control,
            flags,
        ) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other?,
        }
    };
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            for fd in rights {
                #[cfg(not(target_os = "linux"))]
                crate::fd::set_cloexec(&fd)?;
                fds.push(fd);
            }
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(Violation::DescriptorsLost.into());
    }
    if fds.len() > MAX_DESCRIPTORS {
        return Err(Violation::TooManyDescriptors { count: fds.len() }.into());
    }
    Ok(received.bytes)
}
