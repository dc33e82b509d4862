//! When a ticket is to be answered and solved: as its priority says, or as its plan promises if that
//! is sooner.

use anyhow::Context;
use chrono::TimeDelta;
use entity::{invoice, plan, resource, ticket};
use schemas::ticket::Priority;
use sea_orm::{ConnectionTrait, EntityTrait};

use crate::store::{catalog, orders};

/// How long the first answer and the solution may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Deadlines {
    pub(crate) answer: TimeDelta,
    pub(crate) resolution: TimeDelta,
}

/// What holds for a priority if no plan says anything.
fn usual(priority: Priority) -> Deadlines {
    let (answer, resolution) = match priority {
        Priority::Urgent => (1, 8),
        Priority::High => (4, 24),
        Priority::Normal => (8, 72),
        Priority::Low => (24, 7 * 24),
    };
    Deadlines {
        answer: TimeDelta::hours(answer),
        resolution: TimeDelta::hours(resolution),
    }
}

/// What holds for a priority under the promise of a plan.
fn promised(priority: Priority, plan: Option<&plan::Model>) -> Deadlines {
    let usual = usual(priority);
    let minutes = |of: fn(&plan::Model) -> Option<i32>| {
        let minutes = plan.and_then(of)?;
        Some(TimeDelta::minutes(minutes.into()))
    };
    let sooner = |promise: Option<TimeDelta>, usual: TimeDelta| promise.unwrap_or(usual).min(usual);
    Deadlines {
        answer: sooner(minutes(|plan| plan.answer_minutes), usual.answer),
        resolution: sooner(minutes(|plan| plan.resolution_minutes), usual.resolution),
    }
}

/// What holds for a new ticket, by what it is about.
pub(crate) async fn of(
    db: &impl ConnectionTrait,
    ticket: &ticket::Model,
    priority: Priority,
) -> anyhow::Result<Deadlines> {
    Ok(promised(priority, plan_of(db, ticket).await?.as_ref()))
}

async fn plan_of(
    db: &impl ConnectionTrait,
    ticket: &ticket::Model,
) -> anyhow::Result<Option<plan::Model>> {
    let order_id = match (ticket.order_id, ticket.resource_id, ticket.invoice_id) {
        (Some(order_id), _, _) => Some(order_id),
        (_, Some(id), _) => {
            let resource = resource::Entity::find_by_id(id).one(db).await;
            resource
                .context("find the resource")?
                .map(|row| row.order_id)
        }
        (_, _, Some(id)) => {
            let invoice = invoice::Entity::find_by_id(id).one(db).await;
            invoice
                .context("find the invoice")?
                .and_then(|row| row.order_id)
        }
        _ => None,
    };
    let Some(order_id) = order_id else {
        return Ok(None);
    };
    let Some(order) = orders::find(db, order_id).await.context("find the order")? else {
        return Ok(None);
    };
    let Some((offering, _)) = catalog::offering(db, &order.offering).await? else {
        return Ok(None);
    };
    Ok(catalog::plan(db, offering.id, &order.plan).await?)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_promise_counts_where_it_is_sooner() {
        let plan = plan::Model {
            id: Uuid::nil(),
            offering_id: Uuid::nil(),
            code: "s".to_owned(),
            name: String::new(),
            sku: String::new(),
            active: true,
            answer_minutes: Some(120),
            resolution_minutes: None,
        };
        let low = promised(Priority::Low, Some(&plan));
        assert_eq!(low.answer, TimeDelta::hours(2));
        assert_eq!(low.resolution, TimeDelta::days(7));
        let urgent = promised(Priority::Urgent, Some(&plan));
        assert_eq!(urgent.answer, TimeDelta::hours(1));
        assert_eq!(promised(Priority::Low, None), usual(Priority::Low));
    }

    #[test]
    fn what_is_more_urgent_is_due_sooner() {
        let due: Vec<_> = Priority::ALL.iter().map(|p| usual(*p)).collect();
        assert!(due.windows(2).all(|pair| pair[1].answer < pair[0].answer));
        assert!(
            due.windows(2)
                .all(|pair| pair[1].resolution < pair[0].resolution)
        );
    }
}
