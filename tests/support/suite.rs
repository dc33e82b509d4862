//! Which stories there are, in which worlds they are told, and what is left out for want of servers.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};

use super::coverage::{self, Told};
use super::system::World;

/// How long a story may take before it has failed.
const LIMIT: Duration = Duration::from_secs(240);

/// Every story of this binary.
#[derive(Default)]
pub(crate) struct Suite {
    trials: Vec<Trial>,
    left_out: Vec<String>,
}

impl Suite {
    /// A story that is told in each of these worlds.
    pub(crate) fn story<F, Fut>(&mut self, name: &str, worlds: &[World], story: F)
    where
        F: Fn(World) -> Fut + Copy + Send + 'static,
        Fut: Future<Output = ()>,
    {
        for world in worlds {
            let world = *world;
            let told = Told::new(name, world);
            let name = format!("{name} [{}]", world.name());
            let missing = missing(world.needs());
            self.trial(&name, missing, move || told.tell(story(world)));
        }
    }

    /// A story that is told in each of these worlds and needs more than they do.
    pub(crate) fn story_needing<F, Fut>(
        &mut self,
        name: &str,
        (worlds, needs): (&[World], &[Need]),
        story: F,
    ) where
        F: Fn(World) -> Fut + Copy + Send + 'static,
        Fut: Future<Output = ()>,
    {
        for world in worlds {
            let world = *world;
            let told = Told::new(name, world);
            let name = format!("{name} [{}]", world.name());
            let missing = missing(&[world.needs(), needs].concat());
            self.trial(&name, missing, move || told.tell(story(world)));
        }
    }

    /// A story that needs these of the environment, and no world.
    pub(crate) fn story_with<F, Fut>(&mut self, name: &str, needs: &[Need], story: F)
    where
        F: Fn() -> Fut + Copy + Send + 'static,
        Fut: Future<Output = ()>,
    {
        self.trial(name, missing(needs), story);
    }

    fn trial<F, Fut>(&mut self, name: &str, missing: Vec<Need>, story: F)
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = ()>,
    {
        // ./dev test has everything; there a server that is missing is a failure.
        let everything = environment("TEST_EVERYTHING").is_some();
        let left_out = !missing.is_empty() && !everything;
        if left_out {
            self.left_out.push(name.to_owned());
        }
        let runner = move || {
            if !missing.is_empty() {
                return Err(Failed::from(format!("missing here: {missing:?}")));
            }
            run(story())
        };
        self.trials
            .push(Trial::test(name, runner).with_ignored_flag(left_out));
    }

    /// Runs the stories that the command line asks for.
    pub(crate) fn run(self) -> ExitCode {
        let arguments = Arguments::from_args();
        let quiet = arguments.list;
        let everything = !quiet
            && self.left_out.is_empty()
            && arguments.filter.is_none()
            && arguments.skip.is_empty();
        let conclusion = libtest_mimic::run(&arguments, self.trials);
        if !quiet && !self.left_out.is_empty() {
            println!(
                "{} stories were left out because a server or program is missing here: those over RabbitMQ\n\
                 and PostgreSQL, those that look into PDFs, and those with a foreign issuer. `./dev test` starts what they need and runs them all.\n",
                self.left_out.len()
            );
        }
        if everything {
            tell_routes();
        }
        conclusion.exit_code()
    }
}

/// Says which routes no story has used over both transports; and which story used which, if `TEST_ROUTES`
/// names a file for it.
fn tell_routes() {
    let routes = coverage::routes();
    let mut table = String::new();
    let mut complete = 0;
    for (route, by) in &routes {
        let [embedded, rabbitmq] = by
            .each_ref()
            .map(|story| story.as_deref().unwrap_or("none"));
        table += &format!("{route} | {embedded} | {rabbitmq}\n");
        match by.iter().all(Option::is_some) {
            true => complete += 1,
            false => println!("{route}: embedded {embedded}, RabbitMQ {rabbitmq}"),
        }
    }
    if let Some(path) = environment("TEST_ROUTES") {
        std::fs::write(path, table).unwrap();
    }
    println!(
        "{complete} of {} routes have stories over both transports.\n",
        routes.len()
    );
}

fn run(story: impl Future<Output = ()>) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        tokio::time::timeout(LIMIT, story)
            .await
            .map_err(|_| Failed::from(format!("took longer than {LIMIT:?}")))
    })
}

/// Something that a story needs and a machine may not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// `TEST_AMQP_URL` and `TEST_AMQP_ADMIN_URL`.
    RabbitMq,
    /// `TEST_DATABASE_URL`.
    Postgres,
    /// The program.
    Wkhtmltopdf,
    /// The programs pdftotext and pdftoppm.
    Poppler,
    /// Python of the system with the module pika.
    Pika,
    /// node, and `TEST_OIDC`: a folder with the packages of `tests/oidc`.
    Oidc,
}

fn missing(needs: &[Need]) -> Vec<Need> {
    let program = |name: &str| {
        let path = environment("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
    };
    let has = |need: &Need| match need {
        Need::RabbitMq => {
            environment("TEST_AMQP_URL").is_some() && environment("TEST_AMQP_ADMIN_URL").is_some()
        }
        Need::Postgres => environment("TEST_DATABASE_URL").is_some(),
        Need::Wkhtmltopdf => program("wkhtmltopdf"),
        Need::Poppler => program("pdftotext") && program("pdftoppm"),
        Need::Oidc => program("node") && environment("TEST_OIDC").is_some(),
        Need::Pika => Path::new("/usr/lib/python3/dist-packages/pika").is_dir(),
    };
    needs.iter().filter(|need| !has(need)).copied().collect()
}

/// The servers that systems under test share, as URLs of users who may create on them.
#[derive(Debug, Clone)]
pub(crate) struct Servers {
    /// RabbitMQ: may create virtual hosts.
    pub(crate) amqp: String,
    /// Its management API.
    pub(crate) amqp_admin: String,
    /// PostgreSQL: may create databases.
    pub(crate) database: String,
}

impl Servers {
    /// Those that the environment names; nothing but an empty URL for one that it does not.
    pub(crate) fn of_environment() -> Self {
        let url = |name| environment(name).unwrap_or_default();
        Self {
            amqp: url("TEST_AMQP_URL"),
            amqp_admin: url("TEST_AMQP_ADMIN_URL"),
            database: url("TEST_DATABASE_URL"),
        }
    }
}

/// A variable of the environment.
#[expect(
    clippy::disallowed_methods,
    reason = "tests have no command line of their own"
)]
pub(crate) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
