//! Where a benchmark runs: on real servers, or on the embedded defaults.

use serde_json::Value;

use crate::support::system::{Setup, System, World};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// RabbitMQ, PostgreSQL, wkhtmltopdf, and a mail server of our own over SMTP.
    Distributed,
    /// Everything embedded: queue and database in SQLite, Typst, mail as files.
    Embedded,
}

impl Place {
    /// A system here, not started.
    pub(crate) async fn system(self) -> System {
        let world = match self {
            Self::Distributed => World::Distributed,
            Self::Embedded => World::Embedded,
        };
        let setup = Setup {
            idle: true,
            retry_scale: Some("1"),
            ..Setup::default()
        };
        let mut system = System::start_with(world, setup).await;
        // The address is read from the log.
        system.set_environment("RUST_LOG", "warn,flow=info");
        // One customer sends everything.
        for rate in ["KEY_RATE", "ACCOUNT_RATE"] {
            system.set_environment(rate, "1000000");
        }
        if self == Self::Embedded {
            let mail = format!("file:{}", system.folder().join("mail").display());
            system.set_environment("MAIL_URL", &mail);
        }
        system
    }
}

/// Ends everything at once, without looking what is left.
pub(crate) async fn discard(mut system: System) {
    for (_, process) in &mut system.processes {
        process.kill().await;
    }
    if let Some(vhost) = system.vhost.take() {
        vhost.remove().await;
    }
    system.database.remove().await;
}

/// The body of the orders that are placed.
pub(crate) fn order() -> Value {
    crate::support::client::small_server("web-1")
}
