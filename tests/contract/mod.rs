//! The contract that both transports fulfil, told through the public interface of `broker`.

mod bench;
mod consuming;
mod failing;
mod publishing;

use crate::support::suite::{Need, Suite};
use bench::Transport;

pub(crate) fn register(suite: &mut Suite) {
    publishing::register(suite);
    consuming::register(suite);
    failing::register(suite);
}

/// Registers a clause of the contract for both transports.
fn clause<F, Fut>(suite: &mut Suite, name: &str, clause: F)
where
    F: Fn(Transport) -> Fut + Copy + Send + 'static,
    Fut: Future<Output = ()>,
{
    suite.story_with(&format!("{name} [embedded]"), &[], move || {
        clause(Transport::Embedded)
    });
    suite.story_with(
        &format!("{name} [rabbitmq]"),
        &[Need::RabbitMq],
        move || clause(Transport::Rabbit),
    );
}

/// Registers a clause that only RabbitMQ has.
fn rabbit_clause<F, Fut>(suite: &mut Suite, name: &str, clause: F)
where
    F: Fn(Transport) -> Fut + Copy + Send + 'static,
    Fut: Future<Output = ()>,
{
    suite.story_with(
        &format!("{name} [rabbitmq]"),
        &[Need::RabbitMq],
        move || clause(Transport::Rabbit),
    );
}
