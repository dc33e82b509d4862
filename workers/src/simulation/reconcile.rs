//! What looks after things that stand still, and the clock.

use entity::stage::{self, StageState};
use schemas::Outgoing;
use sea_orm::{ConnectionTrait, DatabaseConnection, EntityTrait, QueryOrder};

use crate::reconciler::current_step;

/// The current step of everything that is not at its end, whether it stands still or not. What waits
/// for a person is left alone, unless `failed` stages are wanted too.
pub(super) async fn current_steps(db: &DatabaseConnection, failed: bool) -> Vec<Outgoing> {
    let stages = stage::Entity::find()
        .order_by_asc(stage::Column::SubjectId)
        .order_by_asc(stage::Column::Name);
    let mut steps = Vec::new();
    for stage in stages.all(db).await.unwrap() {
        let wanted = match stage.state {
            StageState::Done | StageState::Cancelled => false,
            StageState::Failed => failed,
            StageState::Pending | StageState::Running | StageState::Retrying => true,
        };
        if wanted {
            steps.extend(current_step(db, &stage).await.unwrap());
        }
    }
    steps
}

/// Lets time pass.
///
/// The clock of the database cannot be set. But all that is ever asked of it is whether a stored
/// moment is behind it, so that to move every stored moment back is the same as to move the clock
/// forward. The only stored moments that decide anything are the leases; all others are shown.
pub(super) async fn pass(db: &DatabaseConnection, seconds: u16) {
    let millis = u32::from(seconds) * 1000;
    for table in ["resource", "email_delivery"] {
        let sql = format!("UPDATE {table} SET lease_until_ms = lease_until_ms - {millis}");
        db.execute_unprepared(&sql).await.unwrap();
    }
}
