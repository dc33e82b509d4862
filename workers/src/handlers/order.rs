//! Takes orders in: checks and prices them, plans their resources.

use anyhow::{Context, anyhow};
use broker::{Envelope, Failure, Handled, Handler, Next, Outgoing, Refused, crash_point};
use chrono::{DateTime, Utc};
use entity::account;
use entity::order::{self, OrderState};
use entity::resource::{self, ResourceState};
use schemas::event::{OrderAccepted, OrderRejected};
use schemas::order::{MAX_QUANTITY, OrderPlace, OrderRequest, order_id as order_id_of};
use schemas::provision::{ResourceProvision, resource_id};
use schemas::topology::{self, WorkQueue};
use schemas::{Problem, problem};
use sea_orm::ActiveModelTrait;
use uuid::Uuid;

use crate::store::catalog::{self, PriceSnapshot};
use crate::store::{self, orders, resources, stages};

use super::intake::{Intake, missing_reference, unsaid};
use super::{permanent, show_failure};

/// Consumes `order.place.v1`.
pub(crate) struct PlaceOrder {
    pub(crate) intake: Intake,
}

/// What a valid order comes to.
struct Planned {
    prices: Vec<PriceSnapshot>,
    provider: String,
    provider_account_id: Uuid,
    sku: String,
}

impl Handler for PlaceOrder {
    type Message = OrderPlace;

    fn queue(&self) -> WorkQueue {
        topology::ORDER
    }

    async fn handle(&self, message: &Envelope<OrderPlace>) -> Handled {
        let place = &self.admit(message).await?;
        let account = catalog::account(&self.intake.db, place.account_id)
            .await
            .context("find the account")?;
        let Some(account) = account.filter(|account| account.active) else {
            let error = anyhow!("there is no active account {}", place.account_id);
            return Err(permanent("unknown_account", error));
        };
        if let Some(order) = orders::find(&self.intake.db, place.order_id)
            .await
            .context("find the order")?
        {
            return self.repeated(message, place, &order).await;
        }
        let inserted = match self.plan(&account, place).await? {
            Ok(planned) => self.accept(place, planned).await?,
            Err(problem) => self.reject(place, &problem).await?,
        };
        if !inserted {
            tracing::debug!("another delivery of order {} was faster", place.order_id);
        }
        let order = orders::find(&self.intake.db, place.order_id)
            .await
            .context("find the order")?;
        let order = order.context("the order that was just stored is gone")?;
        self.repeated(message, place, &order).await
    }

    async fn failed(&self, message: &Envelope<OrderPlace>, error: &str, next: Next) {
        // A message of a partner system has no stage before it is taken in.
        let trusted = self.intake.is_trusted(message.publisher.as_deref());
        if let Some(order_id) = message.body.order_id.filter(|_| trusted) {
            show_failure(&self.intake.db, order_id, stages::PLACE, error, next).await;
        }
    }

    fn refused(&self, refused: &Refused<'_>) -> Option<Outgoing> {
        self.intake.refused(refused)
    }
}

/// An order that somebody may place.
struct Admitted {
    order_id: Uuid,
    account_id: Uuid,
    placed_at: DateTime<Utc>,
    request: OrderRequest,
}

impl PlaceOrder {
    /// Whether the publisher may place this order. An ingress has checked it; of a partner system
    /// only its name is known, by the broker.
    async fn admit(&self, message: &Envelope<OrderPlace>) -> Result<Admitted, Failure> {
        let OrderPlace {
            order_id,
            account_id,
            placed_at,
            request,
        } = message.body.clone();
        if !(1..=MAX_QUANTITY).contains(&request.quantity) {
            let error = anyhow!("request.quantity must be a whole number from 1 to {MAX_QUANTITY}");
            return Err(permanent("schema", error));
        }
        if self.intake.is_trusted(message.publisher.as_deref()) {
            let (Some(order_id), Some(placed_at)) = (order_id, placed_at) else {
                return Err(unsaid("order_id and placed_at"));
            };
            return Ok(Admitted {
                order_id,
                account_id,
                placed_at,
                request,
            });
        }
        self.intake.admit(message, account_id).await?;
        let Some(key) = &request.external_ref else {
            return Err(missing_reference());
        };
        Ok(Admitted {
            order_id: order_id_of(account_id, Some(key)),
            account_id,
            placed_at: store::now(&self.intake.db)
                .await
                .context("ask for the time")?,
            request,
        })
    }

    /// What follows from an order that is stored: the same, however often it arrives.
    async fn repeated(
        &self,
        message: &Envelope<OrderPlace>,
        place: &Admitted,
        order: &order::Model,
    ) -> Handled {
        // A partner system does not say which story its message belongs to: that of the order.
        let follow_up = |mut outgoing: Outgoing| {
            outgoing.correlation_id = order.id;
            outgoing
        };
        if order.account_id != place.account_id || order.request_sha256 != place.request.sha256() {
            // The first one wins. The ingress answers 422 to this; here it came another way, or past
            // an ingress that did not know the first yet.
            let problem = Problem::new(
                problem::KEY_REUSED,
                format!(
                    "Order {} asks for something else under the same key.",
                    order.id
                ),
            );
            return Ok(vec![follow_up(
                message.follow_up(&rejected(place, problem)),
            )]);
        }
        if order.state == OrderState::Rejected {
            let problem = order
                .problem
                .as_deref()
                .and_then(|json| serde_json::from_str(json).ok());
            let problem = problem.context("the rejected order has no readable problem")?;
            return Ok(vec![follow_up(
                message.follow_up(&rejected(place, problem)),
            )]);
        }
        let mut outgoing = vec![follow_up(message.follow_up(&OrderAccepted {
            order_id: order.id,
            account_id: order.account_id,
            external_ref: place.request.external_ref.clone(),
            placed_at: order.placed_at,
        }))];
        for resource in resources::of_order(&self.intake.db, order.id)
            .await
            .context("find the resources")?
        {
            if resource.state == ResourceState::Creating {
                let provider = resource
                    .provider
                    .parse()
                    .context("read the provider of the resource")?;
                let provision = ResourceProvision {
                    resource_id: resource.id,
                    provider,
                };
                outgoing.push(Outgoing::once(resource.id, order.id, &provision));
            }
        }
        Ok(outgoing)
    }

    /// Checks the request against the catalogue. The inner error is for the customer.
    async fn plan(
        &self,
        account: &account::Model,
        place: &Admitted,
    ) -> Result<Result<Planned, Problem>, Failure> {
        let request = &place.request;
        if let Some(external_ref) = &request.external_ref {
            let other =
                orders::with_external_ref(&self.intake.db, account.id, external_ref.as_str())
                    .await?;
            if let Some(other) = other.filter(|other| *other != place.order_id) {
                let detail =
                    format!("The reference {external_ref} belongs to order {other} already.");
                return Ok(Err(Problem::new(problem::EXTERNAL_REF_IN_USE, detail)));
            }
        }
        let OrderRequest {
            offering: offering_code,
            plan: plan_code,
            region,
            ..
        } = request;
        let found = catalog::offering(&self.intake.db, offering_code.as_str())
            .await
            .context("find the offering")?;
        let available = found.filter(|(offering, account)| offering.active && account.active);
        let Some((offering, provider_account)) = available else {
            let detail = format!(
                "There is no offering {offering_code} that can be ordered. See GET /v1/offerings."
            );
            return Ok(Err(Problem::new(problem::UNKNOWN_OFFERING, detail)));
        };
        let plan = catalog::plan(&self.intake.db, offering.id, plan_code.as_str())
            .await
            .context("find the plan")?;
        let Some(plan) = plan.filter(|plan| plan.active) else {
            let detail = format!(
                "{offering_code} has no plan {plan_code} that can be ordered. See GET /v1/offerings."
            );
            return Ok(Err(Problem::new(problem::UNKNOWN_PLAN, detail)));
        };
        if !offering
            .regions
            .split_whitespace()
            .any(|code| code == region.as_str())
        {
            let detail = format!(
                "{offering_code} is not offered in {region}, but in: {}.",
                offering.regions
            );
            return Ok(Err(Problem::new(problem::UNKNOWN_REGION, detail)));
        }
        let prices =
            catalog::prices(&self.intake.db, plan.id, &account.currency, place.placed_at).await?;
        if prices.is_empty() {
            let detail = format!(
                "{offering_code} {plan_code} has no price in {}.",
                account.currency
            );
            return Ok(Err(Problem::new(problem::NO_PRICE, detail)));
        }
        Ok(Ok(Planned {
            prices,
            provider: provider_account.provider,
            provider_account_id: provider_account.id,
            sku: plan.sku,
        }))
    }

    async fn accept(&self, place: &Admitted, planned: Planned) -> Result<bool, Failure> {
        let transaction = store::begin(&self.intake.db).await?;
        let order = order::Model {
            prices: Some(serde_json::to_string(&planned.prices)?),
            ..row(place, OrderState::Queued)
        };
        if !orders::insert(&transaction, order, None)
            .await
            .context("store the order")?
        {
            return Ok(false);
        }
        for ordinal in 1..=place.request.quantity {
            let resource = planned_resource(place, &planned, ordinal)?;
            store::insert_once(
                &transaction,
                resource::ActiveModel::from(resource).reset_all(),
            )
            .await?;
        }
        orders::plan_stages(&transaction, place.order_id).await?;
        transaction.commit().await.context("store the order")?;
        crash_point("order.stored");
        Ok(true)
    }

    async fn reject(&self, place: &Admitted, problem: &Problem) -> Result<bool, Failure> {
        let transaction = store::begin(&self.intake.db).await?;
        let mut order = order::Model {
            problem: Some(serde_json::to_string(problem)?),
            ..row(place, OrderState::Rejected)
        };
        if problem.name() == problem::EXTERNAL_REF_IN_USE.name {
            order.external_ref = None;
        }
        let inserted = orders::insert(&transaction, order, Some(&problem.detail)).await?;
        stages::done(&transaction, place.order_id, stages::PLACE).await?;
        transaction.commit().await.context("store the rejection")?;
        Ok(inserted)
    }
}

fn rejected(place: &Admitted, problem: Problem) -> OrderRejected {
    OrderRejected {
        order_id: place.order_id,
        account_id: place.account_id,
        external_ref: place.request.external_ref.clone(),
        problem,
    }
}

fn row(place: &Admitted, state: OrderState) -> order::Model {
    let request = &place.request;
    order::Model {
        id: place.order_id,
        account_id: place.account_id,
        external_ref: request.external_ref.as_ref().map(ToString::to_string),
        offering: request.offering.to_string(),
        plan: request.plan.to_string(),
        quantity: i32::try_from(request.quantity).unwrap_or(i32::MAX),
        region: request.region.to_string(),
        name: request.name.to_string(),
        request_sha256: request.sha256(),
        prices: None,
        state,
        version: 0,
        problem: None,
        trace_id: broker::current_trace_id(),
        placed_at: place.placed_at,
        updated_at: Utc::now(),
        completed_at: None,
    }
}

fn planned_resource(
    place: &Admitted,
    planned: &Planned,
    ordinal: u32,
) -> anyhow::Result<resource::Model> {
    let id = resource_id(place.order_id, ordinal);
    let name = match place.request.quantity {
        1 => place.request.name.to_string(),
        _ => format!("{}-{ordinal}", place.request.name),
    };
    let now = Utc::now();
    Ok(resource::Model {
        id,
        order_id: place.order_id,
        ordinal: i32::try_from(ordinal)?,
        account_id: place.account_id,
        provider: planned.provider.clone(),
        provider_account_id: planned.provider_account_id,
        sku: planned.sku.clone(),
        region: place.request.region.to_string(),
        name,
        client_token: id.to_string(),
        state: ResourceState::Creating,
        external_id: None,
        address: None,
        outcome_unknown: false,
        fence: 0,
        lease_until_ms: None,
        activated_at: None,
        terminating_since: None,
        terminated_at: None,
        billed_until: None,
        settled_at: None,
        created_at: now,
        updated_at: now,
    })
}
