//! The client: finds the leader, keeps many requests under way, and repeats them until answered.

mod connection;
mod lane;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use crate::command::Answer;
use crate::error::{Error, Result};
use crate::protocol::{RequestBody, Response, ResponseBody, Status};
use connection::{Connection, Heard, Numbered};
use lane::Lane;

pub(crate) use lane::Job;

/// Between two attempts to find a leader. An election takes some tenths of a second.
const PAUSE: Duration = Duration::from_millis(10);
/// A server that says nothing for so long is given up for another one.
const SILENCE_MAX: Duration = Duration::from_secs(1);
const CONNECT_MAX: Duration = Duration::from_millis(500);

/// Whom to ask, and how.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Client addresses of replicas; some are enough.
    pub(crate) servers: Vec<SocketAddr>,
    /// How long a request may go unanswered before the client gives up.
    pub(crate) timeout: Duration,
    /// Requests under way at once.
    pub(crate) outstanding: usize,
    /// Ends whatever runs with [`Error::Interrupted`] once it is set.
    pub(crate) stop: Option<&'static AtomicBool>,
}

/// A request that was answered.
#[derive(Debug)]
pub(crate) struct Done {
    /// Its place in the order in which this run's jobs were taken.
    pub(crate) job: usize,
    /// The answering state contains every slot through this one.
    pub(crate) slot: u64,
    pub(crate) answer: Answer,
    /// From the first time it was sent.
    pub(crate) latency: Duration,
    /// Who answered.
    pub(crate) from: SocketAddr,
}

/// A client of the cluster.
///
/// Each of its lanes is a session with one request under way, which is what the replicas need for
/// executing each command once. A request is sent to whoever is believed to lead; if the connection
/// breaks, is silent, or the server redirects, every unanswered request goes out again, to the
/// next, with the same session and sequence.
pub(crate) struct Client {
    options: Options,
    lanes: Vec<Lane>,
    connection: Option<Connection>,
    hear: Sender<Numbered>,
    heard: Receiver<Numbered>,
    generation: u64,
    /// Servers to try, best first. A redirect puts the leader in front.
    candidates: VecDeque<SocketAddr>,
    pause_until: Option<Instant>,
    heard_at: Instant,
    resent: u64,
    last_failure: String,
}

impl Client {
    pub(crate) fn new(options: Options) -> Self {
        let lanes = (0..options.outstanding.max(1)).map(|_| Lane::default()).collect();
        let candidates = options.servers.iter().copied().collect();
        let (hear, heard) = mpsc::channel();
        Self {
            options,
            lanes,
            connection: None,
            hear,
            heard,
            generation: 0,
            candidates,
            pause_until: None,
            heard_at: Instant::now(),
            resent: 0,
            last_failure: "no server was reached".into(),
        }
    }

    /// How many requests were sent more than once because an answer did not come.
    pub(crate) const fn resent(&self) -> u64 {
        self.resent
    }

    /// Does one thing.
    pub(crate) fn one(&mut self, job: Job) -> Result<Done> {
        let (mut job, mut answer) = (Some(job), None);
        self.run(&mut || Ok(job.take()), &mut |done| {
            answer = Some(done);
            Ok(())
        })?;
        answer.ok_or_else(|| Error::Refused { why: "no answer to the only request".into() })
    }

    /// Takes jobs from `next` until it has no more, and hands each answer to `done`, in whatever
    /// order they come. An error of either ends the run.
    pub(crate) fn run(
        &mut self,
        next: &mut dyn FnMut() -> Result<Option<Job>>,
        done: &mut dyn FnMut(Done) -> Result<()>,
    ) -> Result<()> {
        let (mut exhausted, mut jobs) = (false, 0);
        loop {
            let now = Instant::now();
            if self.options.stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) {
                return Err(Error::Interrupted);
            }
            for index in 0..self.lanes.len() {
                if !exhausted && self.lanes[index].is_idle() {
                    match next()? {
                        Some(job) => {
                            self.lanes[index].begin(jobs, job, now);
                            jobs += 1;
                        }
                        None => exhausted = true,
                    }
                }
            }
            let Some(oldest) = self.lanes.iter().filter_map(Lane::since).min() else {
                return Ok(());
            };
            if now - oldest > self.options.timeout {
                return Err(self.no_answer());
            }
            if self.connect(now) {
                self.send(now);
            }
            self.receive(done)?;
        }
    }

    /// Whether there is a connection; makes one if it is time to.
    fn connect(&mut self, now: Instant) -> bool {
        if self.connection.is_some() {
            return true;
        }
        if self.pause_until.is_some_and(|until| now < until) {
            return false;
        }
        let Some(&server) = self.candidates.front() else { return false };
        self.generation += 1;
        match Connection::open(server, CONNECT_MAX, self.generation, self.hear.clone()) {
            Ok(connection) => {
                self.connection = Some(connection);
                self.heard_at = Instant::now();
                true
            }
            Err(error) => {
                self.last_failure = format!("{server}: {error}");
                self.move_on();
                false
            }
        }
    }

    /// Leaves this server; the next attempt goes to another one, a little later.
    fn move_on(&mut self) {
        self.candidates.rotate_left(1);
        self.disconnect();
        self.pause_until = Some(Instant::now() + PAUSE);
    }

    fn disconnect(&mut self) {
        self.connection = None;
        for lane in &mut self.lanes {
            lane.forget_sent();
        }
    }

    fn send(&mut self, now: Instant) {
        let Some(connection) = self.connection.as_mut() else { return };
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            if let Some(body) = lane.next_send(now) {
                connection.push(index as u64, body);
            }
        }
        if let Err(error) = connection.flush() {
            self.last_failure = format!("{}: {error}", connection.server());
            self.move_on();
        }
    }

    /// Takes in what servers say, waiting a little for it.
    fn receive(&mut self, done: &mut dyn FnMut(Done) -> Result<()>) -> Result<()> {
        // Lanes that pause are looked at again soon; the rest comes by the channel.
        let mut heard = self.heard.recv_timeout(PAUSE).ok();
        if heard.is_none() && self.heard_at.elapsed() > SILENCE_MAX && self.is_waiting() {
            self.last_failure = "the server is silent".into();
            self.move_on();
        }
        while let Some((generation, what)) = heard {
            // What a server said before it was left is of no interest: the request is on its way
            // to the next, which will say the same.
            if generation == self.generation && self.connection.is_some() {
                self.heard_at = Instant::now();
                self.handle(what, done)?;
            }
            heard = self.heard.try_recv().ok();
        }
        Ok(())
    }

    fn is_waiting(&self) -> bool {
        self.connection.is_some() && self.lanes.iter().any(Lane::is_sent)
    }

    fn handle(&mut self, heard: Heard, done: &mut dyn FnMut(Done) -> Result<()>) -> Result<()> {
        let Response { id, body } = match heard {
            Heard::Response(response) => response,
            Heard::Malformed(error) => return Err(error.into()),
            Heard::Ended(why) => {
                self.last_failure = why;
                self.move_on();
                return Ok(());
            }
        };
        let Some(lane) = self.lanes.get_mut(id as usize) else { return Ok(()) };
        match body {
            ResponseBody::Opened { session } => lane.opened(session),
            ResponseBody::Answer { slot, answer } => {
                let (Some(ended), Some(connection)) = (lane.end(), &self.connection) else {
                    return Ok(());
                };
                self.resent += u64::from(ended.resent);
                let (answer, from) = (Answer::decode(&answer)?, connection.server());
                let latency = ended.first_sent.elapsed();
                done(Done { job: ended.number, slot, answer, latency, from })?;
            }
            ResponseBody::Busy => lane.pause(Instant::now() + PAUSE),
            ResponseBody::Redirect { leader } => {
                self.last_failure = match &leader {
                    Some(leader) => format!("redirected to {leader}"),
                    None => "the replicas have no leader".into(),
                };
                self.redirect(leader.and_then(|leader| leader.parse().ok()));
            }
            ResponseBody::TooLarge { len, max } => return Err(Error::TooLarge { len, max }),
            ResponseBody::Refused { why } => return Err(Error::Refused { why }),
            ResponseBody::Expired => {
                let why = "the session has expired; whether the command was executed is unknown";
                return Err(Error::Refused { why: why.into() });
            }
            ResponseBody::Status(_) => {}
        }
        Ok(())
    }

    fn redirect(&mut self, leader: Option<SocketAddr>) {
        let asked = self.candidates.front().copied();
        self.move_on();
        if let Some(leader) = leader.filter(|leader| Some(*leader) != asked) {
            self.candidates.retain(|candidate| *candidate != leader);
            self.candidates.push_front(leader);
            self.pause_until = None;
        }
    }

    fn no_answer(&self) -> Error {
        let servers: Vec<_> = self.options.servers.iter().map(SocketAddr::to_string).collect();
        Error::NoAnswer {
            servers: servers.join(", "),
            waited: self.options.timeout,
            last: self.last_failure.clone(),
        }
    }
}

/// Asks one replica one thing, without looking for the leader.
pub(crate) fn ask(
    server: SocketAddr,
    body: RequestBody,
    timeout: Duration,
) -> Result<ResponseBody> {
    let (sender, heard) = mpsc::channel();
    let no_answer =
        |last: String| Error::NoAnswer { servers: server.to_string(), waited: timeout, last };
    let connected = Connection::open(server, timeout, 0, sender).and_then(|mut connection| {
        connection.push(0, body);
        connection.flush().map(|()| connection)
    });
    let _connection = connected.map_err(|error| no_answer(error.to_string()))?;
    match heard.recv_timeout(timeout) {
        Ok((_, Heard::Response(response))) => Ok(response.body),
        Ok((_, Heard::Malformed(error))) => Err(error.into()),
        Ok((_, Heard::Ended(why))) => Err(no_answer(why)),
        Err(_) => Err(no_answer("no answer".into())),
    }
}

/// How a replica sees itself.
pub(crate) fn status(server: SocketAddr, timeout: Duration) -> Result<Status> {
    match ask(server, RequestBody::Status, timeout)? {
        ResponseBody::Status(status) => Ok(status),
        other => Err(Error::Refused { why: format!("{other:?}") }),
    }
}
