//! Single-user mode: the supervisor sends the settings and every descriptor over descriptor 3, then
//! "done". A second setup is refused.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use clawdbot_confine::fd;
use clawdbot_confine::frame::{FrameReader, Progress};
use clawdbot_identity::Role;
use clawdbot_proto::v1::{ControlFrame, Setup, control_frame};
use prost::Message as _;

use super::{Brought, CONTROL, Inherited, Way, target};
use crate::{Notifier, StartError};

pub(super) fn take(role: Role) -> Result<Inherited, StartError> {
    let control = fd::take(CONTROL).map_err(|_| {
        StartError::config(format!(
            "clawdbot-{} is started by `clawdbot up` or by the service manager, not by hand",
            role.family()
        ))
    })?;
    fd::close_from(&[control.as_fd()])
        .map_err(|error| StartError::io("inherited descriptors", &error))?;
    fd::set_cloexec(&control).map_err(|error| StartError::io("control descriptor", &error))?;
    let stream = UnixStream::from(control);
    let mut reader = FrameReader::new();
    let (setup, brought) = receive(&stream, &mut reader)?;
    if setup.role != role.as_str() {
        return Err(StartError::config(format!(
            "started as {role}, but the supervisor takes this process for {}",
            setup.role
        )));
    }
    let notifier = Notifier::new(target(&stream)?);
    Ok(Inherited {
        role,
        setup,
        notifier,
        way: Way::Control { stream, reader },
        orphaned: Arc::default(),
        brought,
        warnings: Vec::new(),
    })
}

fn receive(stream: &UnixStream, reader: &mut FrameReader) -> Result<(Setup, Brought), StartError> {
    let mut setup = None;
    let mut brought = Brought::default();
    loop {
        let frame = match reader.read_from(stream) {
            Ok(Progress::Frame(frame)) => frame,
            Ok(Progress::Closed) => {
                return Err(StartError::config(
                    "the supervisor ended before the start was complete",
                ));
            }
            Err(error) => return Err(StartError::io("control descriptor", &error)),
        };
        let message = ControlFrame::decode(frame.payload.as_slice())
            .map_err(|error| StartError::config(format!("control descriptor: {error}")))?;
        let mut fds = frame.fds.into_iter();
        match (message.frame, fds.next(), fds.next()) {
            (Some(control_frame::Frame::Setup(first)), None, None) if setup.is_none() => {
                setup = Some(first);
            }
            (Some(control_frame::Frame::Descriptor(what)), Some(fd), None) => {
                brought.add(what, fd)?;
            }
            (Some(control_frame::Frame::SetupDone(_)), None, None) => break,
            _ => {
                return Err(StartError::config(
                    "control descriptor: a frame out of order",
                ));
            }
        }
    }
    let setup = setup.ok_or_else(|| StartError::config("control descriptor: no setup"))?;
    Ok((setup, brought))
}
