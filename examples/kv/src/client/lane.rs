//! A lane: one session, one request under way.

use std::time::Instant;

use crate::protocol::RequestBody;

/// Something to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Job {
    /// Execute a command, once.
    Write(Vec<u8>),
    /// Answer a query, linearizably.
    Read(Vec<u8>),
}

#[derive(Debug)]
struct Current {
    number: usize,
    job: Job,
    begun: Instant,
    /// When the job itself was first sent; opening a session for it is not part of its latency.
    first_sent: Option<Instant>,
    /// On its way over the present connection.
    sent: bool,
    /// The job itself went out before, over a connection that is gone.
    resent: bool,
    paused_until: Option<Instant>,
}

/// A job that is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ended {
    pub(super) number: usize,
    pub(super) first_sent: Instant,
    /// Whether it was sent more than once.
    pub(super) resent: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Lane {
    session: Option<u64>,
    sequence: u64,
    current: Option<Current>,
}

impl Lane {
    pub(super) const fn is_idle(&self) -> bool {
        self.current.is_none()
    }

    pub(super) fn is_sent(&self) -> bool {
        self.current.as_ref().is_some_and(|current| current.sent)
    }

    /// Since when it works on its job.
    pub(super) fn since(&self) -> Option<Instant> {
        self.current.as_ref().map(|current| current.begun)
    }

    pub(super) fn begin(&mut self, number: usize, job: Job, now: Instant) {
        if matches!(job, Job::Write(_)) {
            self.sequence += 1;
        }
        self.current = Some(Current {
            number,
            job,
            begun: now,
            first_sent: None,
            sent: false,
            resent: false,
            paused_until: None,
        });
    }

    /// What must go out now, if anything.
    pub(super) fn next_send(&mut self, now: Instant) -> Option<RequestBody> {
        let current = self.current.as_mut()?;
        if current.sent || current.paused_until.is_some_and(|until| now < until) {
            return None;
        }
        current.sent = true;
        current.paused_until = None;
        let body = match (&current.job, self.session) {
            (Job::Write(_), None) => return Some(RequestBody::Open),
            (Job::Write(command), Some(session)) => {
                RequestBody::Execute { session, sequence: self.sequence, command: command.clone() }
            }
            (Job::Read(query), _) => RequestBody::Read { query: query.clone() },
        };
        current.resent = current.first_sent.is_some();
        current.first_sent.get_or_insert(now);
        Some(body)
    }

    /// The session is open: the job itself can go out.
    pub(super) fn opened(&mut self, session: u64) {
        if self.session.is_none() {
            self.session = Some(session);
        }
        if let Some(current) = self.current.as_mut() {
            current.sent = false;
        }
    }

    /// The connection is gone: what was sent over it must be sent again.
    pub(super) fn forget_sent(&mut self) {
        if let Some(current) = self.current.as_mut() {
            current.sent = false;
        }
    }

    pub(super) fn pause(&mut self, until: Instant) {
        if let Some(current) = self.current.as_mut() {
            current.sent = false;
            current.paused_until = Some(until);
        }
    }

    /// The job is done.
    pub(super) fn end(&mut self) -> Option<Ended> {
        let Current { number, begun, first_sent, resent, .. } = self.current.take()?;
        Some(Ended { number, first_sent: first_sent.unwrap_or(begun), resent })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_opens_a_session_first_and_is_repeated_with_the_same_sequence() {
        let now = Instant::now();
        let mut lane = Lane::default();
        lane.begin(7, Job::Write(vec![1]), now);
        assert_eq!(lane.next_send(now), Some(RequestBody::Open));
        assert_eq!(lane.next_send(now), None);
        lane.opened(42);
        let execute = RequestBody::Execute { session: 42, sequence: 1, command: vec![1] };
        assert_eq!(lane.next_send(now), Some(execute.clone()));
        lane.forget_sent();
        assert_eq!(lane.next_send(now), Some(execute));
        assert_eq!(lane.end(), Some(Ended { number: 7, first_sent: now, resent: true }));
        lane.begin(8, Job::Write(vec![2]), now);
        let next = RequestBody::Execute { session: 42, sequence: 2, command: vec![2] };
        assert_eq!(lane.next_send(now), Some(next));
    }

    #[test]
    fn a_second_answer_to_one_job_is_not_taken_for_the_next() {
        let mut lane = Lane::default();
        lane.begin(1, Job::Read(vec![1]), Instant::now());
        assert!(lane.end().is_some());
        assert!(lane.end().is_none());
    }

    #[test]
    fn a_paused_job_waits() {
        let now = Instant::now();
        let later = now + std::time::Duration::from_millis(5);
        let mut lane = Lane::default();
        lane.begin(1, Job::Read(vec![1]), now);
        assert!(lane.next_send(now).is_some());
        lane.pause(later);
        assert_eq!(lane.next_send(now), None);
        assert!(lane.next_send(later).is_some());
    }
}
