//! A mail server in this process, with a ledger.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard};

use super::gate::point;
use crate::mail::MailError;

/// What becomes of the next mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PostFault {
    /// A 4xx before the body.
    LaterAtBegin,
    /// A 5xx before the body.
    RefusedAtBegin,
    /// A 4xx as answer to the body.
    LaterAfterBody,
    /// A 5xx as answer to the body.
    RefusedAfterBody,
    /// No answer to the body, which was taken.
    AmbiguousKept,
    /// No answer to the body, which was not taken.
    AmbiguousDropped,
}

#[derive(Default)]
struct State {
    knows: bool,
    /// `Message-ID` and body of every mail that was taken.
    taken: Vec<(String, Vec<u8>)>,
    faults: VecDeque<PostFault>,
    /// The mails that a fault has met.
    disturbed: BTreeSet<(String, PostFault)>,
}

/// The mail server.
#[derive(Default)]
pub(crate) struct Post(Mutex<State>);

/// A mail of which only the body is missing.
pub(crate) struct Letter<'a> {
    post: &'a Post,
    message_id: String,
    fault: Option<PostFault>,
}

impl Post {
    /// With `knows` it can tell which mails it has, and has each once, as a folder does.
    pub(super) fn new(knows: bool) -> Self {
        Self(Mutex::new(State {
            knows,
            ..State::default()
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(super) fn will_fail(&self, fault: PostFault) {
        self.state().faults.push_back(fault);
    }

    pub(super) fn heals(&self) {
        self.state().faults.clear();
    }

    pub(super) fn ledger(&self) -> Vec<(String, Vec<u8>)> {
        self.state().taken.clone()
    }

    pub(crate) async fn begin(&self, message_id: &str) -> Result<Letter<'_>, MailError> {
        point("mail").await;
        let fault = self.next_fault(message_id);
        match fault {
            Some(PostFault::LaterAtBegin) => later("421 try later"),
            Some(PostFault::RefusedAtBegin) => refused("550 no such user"),
            _ => Ok(Letter {
                post: self,
                message_id: message_id.to_owned(),
                fault,
            }),
        }
    }

    pub(crate) fn was_accepted(&self, message_id: &str) -> Option<bool> {
        let state = self.state();
        let taken = state.taken.iter().any(|(taken, _)| taken == message_id);
        state.knows.then_some(taken)
    }

    fn next_fault(&self, message_id: &str) -> Option<PostFault> {
        let mut state = self.state();
        let fault = state.faults.pop_front()?;
        state.disturbed.insert((message_id.to_owned(), fault));
        Some(fault)
    }

    /// Whether one of these faults has met the mail.
    pub(super) fn disturbed(&self, message_id: &str, faults: &[PostFault]) -> bool {
        let state = self.state();
        let met = |fault: &PostFault| state.disturbed.contains(&(message_id.to_owned(), *fault));
        faults.iter().any(met)
    }

    fn take(&self, message_id: &str, body: &[u8]) {
        let mut state = self.state();
        let known = state.taken.iter().any(|(taken, _)| taken == message_id);
        if !(state.knows && known) {
            state.taken.push((message_id.to_owned(), body.to_owned()));
        }
    }
}

impl Letter<'_> {
    pub(crate) async fn finish(self, body: &[u8]) -> Result<String, MailError> {
        point("body").await;
        match self.fault {
            Some(PostFault::LaterAfterBody) => return later("451 try later"),
            Some(PostFault::RefusedAfterBody) => return refused("554 not wanted"),
            Some(PostFault::AmbiguousDropped) => return ambiguous(),
            _ => self.post.take(&self.message_id, body),
        }
        point("taken").await;
        match self.fault {
            Some(PostFault::AmbiguousKept) => ambiguous(),
            _ => Ok("250 taken".to_owned()),
        }
    }
}

fn later<T>(reply: &str) -> Result<T, MailError> {
    Err(MailError::Later(reply.to_owned()))
}

fn refused<T>(reply: &str) -> Result<T, MailError> {
    Err(MailError::Refused(reply.to_owned()))
}

fn ambiguous<T>() -> Result<T, MailError> {
    Err(MailError::Ambiguous("no answer to the body".to_owned()))
}
