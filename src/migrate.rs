//! `flow migrate`.

use migration::Migrator;
use sea_orm_migration::MigratorTrait;

use crate::database;
use crate::settings::Database;

/// Options of `flow migrate`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    database: Database,
}

#[expect(clippy::print_stdout, reason = "the result of the command")]
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let db = args.database.connect().await?;
    let pending = Migrator::get_pending_migrations(&db).await?.len();
    database::migrate(&db).await?;
    println!("{pending} migrations applied; the database is at the current version");
    Ok(())
}
