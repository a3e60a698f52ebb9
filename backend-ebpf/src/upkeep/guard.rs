//! One program's place: whether it is there, and the attempts to put it back.

use std::time::Instant;

use super::pause::Pause;
use crate::attach::{Attachment, Post, Standing};
use crate::kernel::Kernel;
use crate::net::Interface;
use crate::shared::attached;

#[derive(Debug)]
pub(super) struct Guard {
    post: Post,
    attachment: Option<Attachment>,
    pub(super) pause: Pause,
    /// What the last attempt failed with: said once, however often it is tried.
    complaint: Option<String>,
}

impl Guard {
    pub(super) const fn new(post: Post, attachment: Attachment, now: Instant) -> Self {
        let mut pause = Pause::new(now);
        pause.succeed(now);
        Self { post, attachment: Some(attachment), pause, complaint: None }
    }

    pub(super) const fn is_attached(&self) -> bool {
        self.attachment.is_some()
    }

    /// The bit of [`attached`].
    pub(super) const fn mark(&self) -> u32 {
        match self.post {
            Post::Ingress(_) => attached::INGRESS,
            Post::Egress => attached::EGRESS,
        }
    }

    /// Its name in log lines.
    pub(super) const fn name(&self) -> &'static str {
        match self.post {
            Post::Ingress(_) => "ingress",
            Post::Egress => "egress",
        }
    }

    /// What has happened to the program, if it is not where it was put any more.
    pub(super) fn look(&self) -> Option<&'static str> {
        match self.attachment.as_ref()?.standing() {
            Ok(Standing::InPlace) => None,
            Ok(Standing::Detached) => Some("it was detached"),
            Ok(Standing::Replaced) => Some("another program was put in its place"),
            Err(error) => {
                tracing::debug!(%error, program = self.name(), "it cannot be seen whether it is in place");
                None
            }
        }
    }

    /// Takes the program out of its place, if it is still there.
    pub(super) fn withdraw(&mut self, kernel: &Kernel, now: Instant) {
        if let Some(attachment) = self.attachment.take() {
            kernel.take_out(self.post, attachment);
        }
        self.pause.fail(now);
    }

    /// Tries to put the program back. Whether it is there now.
    pub(super) fn restore(&mut self, kernel: &Kernel, interface: &Interface, now: Instant) -> bool {
        match kernel.put_back(self.post, interface) {
            Ok(attachment) => {
                self.attachment = Some(attachment);
                self.pause.succeed(now);
                self.complaint = None;
                true
            }
            Err(error) => {
                self.pause.fail(now);
                let complaint = Some(error.in_full());
                if complaint != self.complaint {
                    let error = complaint.as_deref().unwrap_or_default();
                    tracing::warn!(%error, program = self.name(), "it cannot be put back yet");
                    self.complaint = complaint;
                }
                false
            }
        }
    }
}
