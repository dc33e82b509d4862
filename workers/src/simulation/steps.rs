//! Schedules: what happens, in which order.

use proptest::collection::vec;
use proptest::prelude::*;

use super::cloud::CloudFault;
use super::post::PostFault;

/// The neighbours of a world, and what happens in it.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    /// The provider knows idempotency tokens; then a new server is listed late.
    pub(super) tokens: bool,
    /// The way out of mails can tell whether it had one before, as a folder can.
    pub(super) knows: bool,
    pub(super) steps: Vec<Step>,
}

impl std::fmt::Display for Schedule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "tokens: {}, knows: {}", self.tokens, self.knows)?;
        for step in &self.steps {
            writeln!(f, "{step:?}")?;
        }
        Ok(())
    }
}

/// One thing that happens. A number names a message, or a worker that stalls: modulo how many
/// there are, so that a shorter schedule still means something.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    /// A customer orders under a key; used keys are orders that come again, or others that claim to.
    Place(u8, Wish),
    /// Handled, its follow-ups published, acknowledged.
    Deliver(u8),
    /// Handled twice before it is acknowledged.
    DeliverTwice(u8),
    /// Handled; the worker dies before it publishes. The message comes again.
    CrashBeforePublish(u8),
    /// Handled and published; the worker dies before it acknowledges. The message comes again.
    CrashBeforeAck(u8),
    /// The worker dies after so many statements.
    CrashAtStatement(u8, u8),
    /// The worker stalls at this point of its way. The broker gives the message to others.
    Stall(u8, u8),
    /// A worker stalls at the first point until its lease has run out; another one takes over and
    /// stalls at the second point, and then the first one goes on.
    Overtake(u8, u8, u8),
    /// A worker that stalls goes on to its end.
    Wake(u8),
    /// A worker that stalls dies.
    Kill(u8),
    /// A worker that stalls exceeds the time limit of its queue.
    TimeOut(u8),
    /// The broker has the message twice.
    Duplicate(u8),
    /// A message of long ago comes again.
    ComesAgain(u8),
    /// The broker loses the message.
    Lose(u8),
    /// The provider will fail.
    Cloud(CloudFault),
    /// The mail server will fail.
    Post(PostFault),
    /// So many seconds pass.
    TimePasses(u16),
    /// The reconciler looks at what stands still.
    Reconcile,
    /// A person replays what is parked.
    Replay,
}

/// What an order asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    Servers(u8),
    UnknownPlan,
    UnknownRegion,
    /// With a reference that other orders use too.
    Reference,
    /// By an account without a mail address.
    NoAddress,
}

pub(super) fn schedule() -> impl Strategy<Value = Schedule> {
    (any::<bool>(), any::<bool>(), vec(step(), 1..80)).prop_map(|(tokens, knows, steps)| Schedule {
        tokens,
        knows,
        steps,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let message = any::<u8>;
    prop_oneof![
        4 => (0..6_u8, wish()).prop_map(|(key, wish)| Step::Place(key, wish)),
        16 => message().prop_map(Step::Deliver),
        2 => message().prop_map(Step::DeliverTwice),
        2 => message().prop_map(Step::CrashBeforePublish),
        2 => message().prop_map(Step::CrashBeforeAck),
        3 => (message(), 1..20_u8).prop_map(|(message, statement)| Step::CrashAtStatement(message, statement)),
        10 => (message(), 0..6_u8).prop_map(|(message, point)| Step::Stall(message, point)),
        6 => (message(), 0..5_u8, 0..4_u8).prop_map(|(message, first, second)| Step::Overtake(message, first, second)),
        6 => message().prop_map(Step::Wake),
        2 => message().prop_map(Step::Kill),
        1 => message().prop_map(Step::TimeOut),
        2 => message().prop_map(Step::Duplicate),
        2 => message().prop_map(Step::ComesAgain),
        2 => message().prop_map(Step::Lose),
        4 => cloud_fault().prop_map(Step::Cloud),
        3 => post_fault().prop_map(Step::Post),
        4 => prop_oneof![Just(2), Just(30), Just(90), Just(720)].prop_map(Step::TimePasses),
        2 => Just(Step::Reconcile),
        1 => Just(Step::Replay),
    ]
}

fn wish() -> impl Strategy<Value = Wish> {
    prop_oneof![
        6 => (1..4_u8).prop_map(Wish::Servers),
        1 => Just(Wish::UnknownPlan),
        1 => Just(Wish::UnknownRegion),
        1 => Just(Wish::Reference),
        1 => Just(Wish::NoAddress),
    ]
}

fn cloud_fault() -> impl Strategy<Value = CloudFault> {
    prop_oneof![
        Just(CloudFault::Unreachable),
        Just(CloudFault::BreaksBefore),
        Just(CloudFault::BreaksAfter),
        Just(CloudFault::HangsAfter),
        Just(CloudFault::RateLimited),
        Just(CloudFault::Rejected),
        Just(CloudFault::Slow),
        Just(CloudFault::Mute),
    ]
}

fn post_fault() -> impl Strategy<Value = PostFault> {
    prop_oneof![
        2 => Just(PostFault::LaterAtBegin),
        1 => Just(PostFault::RefusedAtBegin),
        2 => Just(PostFault::LaterAfterBody),
        1 => Just(PostFault::RefusedAfterBody),
        1 => Just(PostFault::AmbiguousKept),
        1 => Just(PostFault::AmbiguousDropped),
    ]
}
