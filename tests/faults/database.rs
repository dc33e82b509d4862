//! Faults of PostgreSQL, and of the way to it.

use std::time::Duration;

use rand::Rng;
use sea_orm::{ConnectOptions, ConnectionTrait, Database};
use tokio::time::{Instant, sleep};

use crate::frames::What;
use crate::postgres::Stop;
use crate::proxy::{Cut, Trigger};
use crate::scene::Scene;
use crate::suite::{Choice, Suite};
use crate::support::wait::within;

pub(crate) fn register(suite: &mut Suite) {
    suite.fault(
        Choice::Full,
        "43",
        "the_database_restarts_under_load",
        async |scene: &mut Scene| restarted(scene, Stop::Fast).await,
    );
    suite.fault(
        Choice::Fixed,
        "43",
        "the_database_crashes_under_load",
        async |scene: &mut Scene| restarted(scene, Stop::Immediate).await,
    );
    suite.fault(
        Choice::Full,
        "44",
        "database_sessions_are_ended_ten_times_a_second",
        sessions_ended,
    );
    suite.fault(
        Choice::Fixed,
        "45",
        "nobody_knows_whether_a_commit_happened",
        commits_cut,
    );
    suite.fault(
        Choice::Full,
        "46",
        "the_database_stands_still_for_a_minute",
        stands_still,
    );
    suite.fault(
        Choice::Full,
        "46",
        "somebody_locks_the_number_series_and_the_orders",
        locked,
    );
    suite.fault(
        Choice::Full,
        "48",
        "transactions_run_into_deadlocks",
        deadlocks,
    );
    suite.fault(
        Choice::Full,
        "49",
        "the_database_takes_few_connections",
        few_connections,
    );
}

/// No attempt is spent on a database that is away: no order was ever retried.
async fn nothing_was_retried(scene: &Scene) {
    let sql = "SELECT count(*) FROM order_event WHERE state IN ('retrying', 'failed')";
    assert_eq!(scene.count(sql).await.unwrap(), 0, "attempts were spent");
}

async fn restarted(scene: &mut Scene, how: Stop) {
    // The answer of the mail server may find no database to be stored in.
    scene.allowed.held = true;
    scene.orders(100, 12);
    scene.stored(20).await;
    scene.postgres.stop(how).await;
    sleep(Duration::from_secs(2)).await;
    scene.postgres.boot(&[]).await;
    scene.completed(100).await;
    nothing_was_retried(scene).await;
}

async fn sessions_ended(scene: &mut Scene) {
    scene.allowed.held = true;
    let name = scene
        .system
        .database
        .url()
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .to_owned();
    let end = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = '{name}' AND application_name <> 'checker' ORDER BY random() LIMIT 1"
    );
    scene.orders(100, 10);
    let until = Instant::now() + Duration::from_secs(12);
    while Instant::now() < until {
        scene.postgres.sql(&end).await;
        sleep(Duration::from_millis(100)).await;
    }
    let noticed = scene.logged("failed, held") + scene.logged("terminating connection");
    assert!(noticed > 0, "no session was missed");
}

/// The answer to `COMMIT` is lost, or `COMMIT` itself.
async fn commits_cut(scene: &mut Scene) {
    scene.allowed.held = true;
    let times = 15;
    let every = scene.random.random_range(15..25);
    for cut in [Cut::Answer, Cut::Before] {
        scene.database.arm(Trigger {
            what: What::Commit,
            cut,
            every,
            times,
        });
    }
    scene.orders(100, 10);
    within(Duration::from_secs(120), "commits to be cut", async || {
        (scene.database.fired() >= times).then_some(())
    })
    .await;
}

async fn stands_still(scene: &mut Scene) {
    scene.allowed.held = true;
    scene.orders(60, 10);
    scene.stored(10).await;
    scene.postgres.pause().await;
    sleep(Duration::from_secs(60)).await;
    assert!(scene.logged("failed, held") > 0, "nobody noticed");
    scene.postgres.resume().await;
}

async fn locked(scene: &mut Scene) {
    scene.allowed.held = true;
    let mut options = ConnectOptions::new(scene.system.database.url());
    options.max_connections(1).sqlx_logging(false);
    let somebody = Database::connect(options).await.unwrap();
    scene.orders(60, 10);
    scene.stored(10).await;
    // In the order in which everybody takes them.
    for statement in ["BEGIN", "LOCK \"order\"", "LOCK number_series"] {
        somebody.execute_unprepared(statement).await.unwrap();
    }
    // Longer than a statement may take.
    sleep(Duration::from_secs(40)).await;
    assert!(scene.logged("lock") > 0, "nobody noticed");
    somebody.execute_unprepared("ROLLBACK").await.unwrap();
}

/// Somebody takes the locks of an order in the wrong direction, again and again.
async fn deadlocks(scene: &mut Scene) {
    scene.allowed.held = true;
    let mut options = ConnectOptions::new(scene.system.database.url());
    options.max_connections(1).sqlx_logging(false);
    let somebody = Database::connect(options).await.unwrap();
    somebody
        .execute_unprepared("SET deadlock_timeout = '5s'")
        .await
        .unwrap();
    scene
        .postgres
        .sql("ALTER SYSTEM SET deadlock_timeout = '100ms'")
        .await;
    scene.postgres.sql("SELECT pg_reload_conf()").await;
    scene.orders(100, 10);
    let until = Instant::now() + Duration::from_secs(12);
    while Instant::now() < until {
        let backwards = [
            "BEGIN",
            "SELECT 1 FROM resource FOR UPDATE",
            "SELECT 1 FROM \"order\" FOR UPDATE",
            "COMMIT",
        ];
        for statement in backwards {
            if somebody.execute_unprepared(statement).await.is_err() {
                somebody.execute_unprepared("ROLLBACK").await.unwrap();
                break;
            }
            sleep(Duration::from_millis(5)).await;
        }
    }
    let sql = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    scene.until("a deadlock", sql, 1).await;
    scene
        .postgres
        .sql("ALTER SYSTEM RESET deadlock_timeout")
        .await;
    scene.postgres.sql("SELECT pg_reload_conf()").await;
}

async fn few_connections(scene: &mut Scene) {
    scene.allowed.held = true;
    scene.postgres.stop(Stop::Fast).await;
    scene.postgres.boot(&["max_connections=14"]).await;
    scene.orders(60, 5);
    scene.load.accepted().await;
    within(
        Duration::from_secs(60),
        "messages to wait for the database",
        async || (scene.logged("failed, held") > 0).then_some(()),
    )
    .await;
    sleep(Duration::from_secs(15)).await;
    scene.postgres.stop(Stop::Fast).await;
    scene.postgres.boot(&[]).await;
}
