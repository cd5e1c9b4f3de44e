use super::*;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

fn pair() -> (UnixStream, UnixStream) {
    UnixStream::pair().unwrap()
}

fn file(text: &str) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.rewind().unwrap();
    file
}

fn frame(progress: io::Result<Progress>) -> Frame {
    match progress.unwrap() {
        Progress::Frame(frame) => frame,
        Progress::Closed => panic!("closed"),
    }
}

/// Sends raw bytes with descriptors, as a peer that does not keep the rules would.
fn send_raw(socket: &UnixStream, bytes: &[u8], fds: &[std::os::fd::BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(32))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
    }
    let sent = sendmsg(
        socket,
        &[io::IoSlice::new(bytes)],
        &mut control,
        SendFlags::empty(),
    );
    assert_eq!(sent.unwrap(), bytes.len());
}

fn violation(result: io::Result<Progress>) -> Violation {
    Violation::of(&result.unwrap_err()).unwrap()
}

#[test]
fn frames_and_descriptors_arrive_in_order_and_apart() {
    let (left, right) = pair();
    send(&left, b"first", &[file("one").as_fd(), file("two").as_fd()]).unwrap();
    send(&left, b"", &[]).unwrap();
    send(&left, b"third", &[file("three").as_fd()]).unwrap();
    drop(left);
    let mut reader = FrameReader::new();
    let mut seen = Vec::new();
    for _ in 0..3 {
        let frame = frame(reader.read_from(&right));
        let texts: Vec<String> = frame
            .fds
            .into_iter()
            .map(|fd| {
                let flags = rustix::io::fcntl_getfd(&fd).unwrap();
                assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
                let mut text = String::new();
                File::from(fd).read_to_string(&mut text).unwrap();
                text
            })
            .collect();
        seen.push((String::from_utf8(frame.payload).unwrap(), texts.join(",")));
    }
    let expected = [("first", "one,two"), ("", ""), ("third", "three")];
    assert_eq!(seen, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    assert!(matches!(
        reader.read_from(&right).unwrap(),
        Progress::Closed
    ));
}

#[test]
fn a_reader_goes_on_where_it_stopped_byte_by_byte() {
    let (left, right) = pair();
    right.set_nonblocking(true).unwrap();
    let mut reader = FrameReader::new();
    let file = file("x");
    for (index, byte) in [3, 0, 0, 0, 1, b'a', b'b', b'c'].into_iter().enumerate() {
        assert_eq!(
            reader.read_from(&right).unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
        let with = [file.as_fd()];
        send_raw(&left, &[byte], if index == 0 { &with } else { &[] });
    }
    let frame = frame(reader.read_from(&right));
    assert_eq!(
        (frame.payload.as_slice(), frame.fds.len()),
        (b"abc".as_slice(), 1)
    );
}

#[test]
fn a_full_socket_delays_a_frame_and_loses_nothing() {
    let (left, right) = pair();
    left.set_nonblocking(true).unwrap();
    right.set_nonblocking(true).unwrap();
    let payload: Vec<u8> = (0..MAX_PAYLOAD).map(|i| (i % 251) as u8).collect();
    let mut writer = FrameWriter::new();
    for _ in 0..40 {
        writer
            .push(&payload, vec![OwnedFd::from(file("x"))])
            .unwrap();
    }
    assert_eq!(
        writer.flush(&left).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
    assert!(!writer.is_empty());
    let mut reader = FrameReader::new();
    let mut frames = 0;
    while frames < 40 {
        match reader.read_from(&right) {
            Ok(Progress::Frame(frame)) => {
                assert_eq!(frame.payload, payload);
                assert_eq!(frame.fds.len(), 1);
                frames += 1;
            }
            Ok(Progress::Closed) => panic!("closed"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                let _ = writer.flush(&left);
            }
        }
    }
    assert!(writer.is_empty());
}

#[test]
fn a_blocking_send_waits_for_a_slow_reader() {
    let (left, right) = pair();
    left.set_nonblocking(true).unwrap();
    let payload = vec![7; MAX_PAYLOAD];
    let sender = std::thread::spawn(move || {
        for _ in 0..20 {
            send(&left, &vec![7; MAX_PAYLOAD], &[]).unwrap();
        }
    });
    let mut reader = FrameReader::new();
    for _ in 0..20 {
        assert_eq!(frame(reader.read_from(&right)).payload, payload);
    }
    sender.join().unwrap();
}

#[test]
fn what_was_not_announced_is_refused_and_closed() {
    // Each row: raw bytes, descriptors sent along, the refusal.
    let header = |length: u32, count: u8| {
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.push(count);
        bytes
    };
    let rows: [(Vec<u8>, usize, Violation); 7] = [
        (header(65_537, 0), 0, Violation::TooLong { length: 65_537 }),
        (
            header(u32::MAX, 0),
            0,
            Violation::TooLong {
                length: u32::MAX as usize,
            },
        ),
        (
            header(1, 17),
            0,
            Violation::TooManyDescriptors { count: 17 },
        ),
        (
            header(0, 2),
            1,
            Violation::DescriptorCount {
                announced: 2,
                received: 1,
            },
        ),
        (
            header(0, 0),
            1,
            Violation::DescriptorCount {
                announced: 0,
                received: 1,
            },
        ),
        (
            header(0, 16),
            17,
            Violation::TooManyDescriptors { count: 17 },
        ),
        (header(0, 16), 32, Violation::DescriptorsLost),
    ];
    for (bytes, count, expected) in rows {
        let (left, right) = pair();
        // The write end of a pipe: its reader sees the end when every copy is closed.
        let (watch, write) = rustix::pipe::pipe().unwrap();
        let borrowed = vec![write.as_fd(); count];
        send_raw(&left, &bytes, &borrowed);
        drop(write);
        let mut reader = FrameReader::new();
        assert_eq!(violation(reader.read_from(&right)), expected);
        assert_eq!(violation(reader.read_from(&right)), Violation::Broken);
        assert_eq!(
            rustix::io::read(&watch, &mut [0_u8; 1]).unwrap(),
            0,
            "{expected:?} leaked"
        );
    }
}

#[test]
fn a_descriptor_inside_the_payload_is_refused() {
    let (left, right) = pair();
    send_raw(&left, &[2, 0, 0, 0, 0], &[]);
    send_raw(&left, b"ab", &[file("x").as_fd()]);
    let refused = violation(FrameReader::new().read_from(&right));
    assert_eq!(
        refused,
        Violation::DescriptorCount {
            announced: 0,
            received: 1
        }
    );
}

#[test]
fn a_connection_that_ends_inside_a_frame_is_refused() {
    for bytes in [&[1_u8][..], &[2, 0, 0, 0, 0], &[2, 0, 0, 0, 0, b'a']] {
        let (mut left, right) = pair();
        left.write_all(bytes).unwrap();
        drop(left);
        assert_eq!(
            violation(FrameReader::new().read_from(&right)),
            Violation::Cut
        );
    }
}

#[test]
fn frames_beyond_the_limits_are_not_sent() {
    let (left, _right) = pair();
    let long = vec![0; MAX_PAYLOAD + 1];
    let error = send(&left, &long, &[]).unwrap_err();
    assert_eq!(
        Violation::of(&error),
        Some(Violation::TooLong {
            length: MAX_PAYLOAD + 1
        })
    );
    let file = file("x");
    let many = vec![file.as_fd(); MAX_DESCRIPTORS + 1];
    let error = send(&left, b"", &many).unwrap_err();
    assert_eq!(
        Violation::of(&error),
        Some(Violation::TooManyDescriptors { count: 17 })
    );
    assert!(FrameWriter::new().push(&long, Vec::new()).is_err());
}
