//! Where one message of a protocol ends, and which ones matter to faults.

use std::collections::VecDeque;

/// What a proxy understands of the bytes that pass it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// AMQP 0-9-1.
    Amqp,
    /// PostgreSQL, version 3.
    Postgres,
    /// Anything: it is passed on as it comes.
    Plain,
}

/// A direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// To the server.
    Up,
    /// To the client.
    Down,
}

/// A message that a fault can wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// `basic.ack` of the broker: a confirm.
    Confirm,
    /// `basic.ack` of a client: a consumer is done with a message.
    Ack,
    /// `basic.publish`, without the header and the body behind it.
    Publish,
    /// `COMMIT`.
    Commit,
}

/// One message, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) what: Option<What>,
    pub(crate) bytes: Vec<u8>,
}

/// Cuts the bytes of one direction of one connection into messages.
pub(crate) struct Frames {
    protocol: Protocol,
    way: Way,
    buffer: VecDeque<u8>,
    /// Whether the greeting is over, which looks different from everything behind it.
    greeted: bool,
}

impl Frames {
    pub(crate) fn new(protocol: Protocol, way: Way) -> Self {
        Self {
            protocol,
            way,
            buffer: VecDeque::new(),
            greeted: way == Way::Down,
        }
    }

    /// Takes bytes in and returns the messages that are complete with them.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Vec<Frame> {
        self.buffer.extend(bytes);
        std::iter::from_fn(|| self.next()).collect()
    }

    fn next(&mut self) -> Option<Frame> {
        let head = self.buffer.make_contiguous();
        let (length, what) = match (self.protocol, self.greeted) {
            (Protocol::Amqp, false) => (8, None),
            (Protocol::Amqp, true) => amqp(head, self.way)?,
            // What the server says is passed on as it comes.
            (Protocol::Plain, _) => (head.len().max(1), None),
            (Protocol::Postgres, _) if self.way == Way::Down => (head.len().max(1), None),
            (Protocol::Postgres, false) => (number(head, 0)?, None),
            (Protocol::Postgres, true) => postgres(head)?,
        };
        if head.len() < length {
            return None;
        }
        if self.protocol == Protocol::Amqp || what_follows_is_typed(head) {
            self.greeted = true;
        }
        let bytes = self.buffer.drain(..length).collect();
        Some(Frame { what, bytes })
    }
}

/// Four bytes, most significant first.
fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let four = bytes.get(at..at + 4)?;
    Some(
        four.iter()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
    )
}

/// AMQP 0-9-1 §4.2.3: type, channel (2), size (4), payload, end. A method begins with class and
/// method.
fn amqp(head: &[u8], way: Way) -> Option<(usize, Option<What>)> {
    let length = number(head, 3)? + 8;
    let method = (head.first() == Some(&1))
        .then(|| number(head, 7))
        .flatten()
        .map(|both| (both >> 16, both & 0xffff));
    let what = match (method, way) {
        (Some((60, 80)), Way::Down) => Some(What::Confirm),
        (Some((60, 80)), Way::Up) => Some(What::Ack),
        (Some((60, 40)), Way::Up) => Some(What::Publish),
        _ => None,
    };
    Some((length, what))
}

/// A type, then the length with itself. A simple query is `Q` and the text.
fn postgres(head: &[u8]) -> Option<(usize, Option<What>)> {
    let length = number(head, 1)? + 1;
    let commit = head.first() == Some(&b'Q') && head.get(5..11) == Some(b"COMMIT".as_slice());
    Some((length, commit.then_some(What::Commit)))
}

/// The first messages of a PostgreSQL client have no type: length, then a code. Only the one with
/// the version of the protocol is the last of them.
fn what_follows_is_typed(head: &[u8]) -> bool {
    number(head, 4) == Some(3 << 16)
}
