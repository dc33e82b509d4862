//! Who asks, and what they may do.

mod check;
mod keys;
mod passwords;
mod pepper;
mod roles;
mod second_factor;
mod sessions;

pub use keys::{NewKey, create_key, list_keys, revoke_key, rotate_key, shown_id};
pub use passwords::{NewPassword, Passwords};
pub use pepper::Pepper;

pub(crate) use check::Keys;
pub(crate) use passwords::GivenPassword;
pub(crate) use roles::scopes_of;
pub(crate) use second_factor::SecondFactors;
pub(crate) use sessions::{Acting, Cookies, Person, Sessions, accounts, end_others};

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use entity::api_key;
use entity::membership::Role;
use ipnet::IpNet;
use uuid::Uuid;

use crate::error::ApiError;

/// What a credential may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Place orders.
    OrdersWrite,
    /// See orders.
    OrdersRead,
    /// See resources.
    ResourcesRead,
    /// Terminate resources.
    ResourcesWrite,
    /// See invoices and download them.
    InvoicesRead,
    /// Ask for invoices.
    InvoicesWrite,
    /// See the account.
    AccountRead,
    /// Change the account.
    AccountWrite,
    /// See API keys, but for their secrets.
    KeysRead,
    /// Create, rotate and revoke API keys that may do no more than this one.
    KeysWrite,
    /// See tickets.
    TicketsRead,
    /// Raise tickets and reply to them.
    TicketsWrite,
    /// See who acts for the account, and who is invited to.
    UsersRead,
    /// Invite people who may do no more than this one, change and remove them.
    UsersWrite,
    /// Of the seller's own people: see the tickets of every account and handle them.
    StaffTickets,
    /// Record payments, issue credit notes and withdraw invoices, of every account.
    StaffBilling,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 16] = [
        Self::OrdersWrite,
        Self::OrdersRead,
        Self::ResourcesRead,
        Self::ResourcesWrite,
        Self::InvoicesRead,
        Self::InvoicesWrite,
        Self::AccountRead,
        Self::AccountWrite,
        Self::KeysRead,
        Self::KeysWrite,
        Self::TicketsRead,
        Self::TicketsWrite,
        Self::UsersRead,
        Self::UsersWrite,
        Self::StaffTickets,
        Self::StaffBilling,
    ];

    /// The name in credentials.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OrdersWrite => "orders:write",
            Self::OrdersRead => "orders:read",
            Self::ResourcesRead => "resources:read",
            Self::ResourcesWrite => "resources:write",
            Self::InvoicesRead => "invoices:read",
            Self::InvoicesWrite => "invoices:write",
            Self::AccountRead => "account:read",
            Self::AccountWrite => "account:write",
            Self::KeysRead => "keys:read",
            Self::KeysWrite => "keys:write",
            Self::TicketsRead => "tickets:read",
            Self::TicketsWrite => "tickets:write",
            Self::UsersRead => "users:read",
            Self::UsersWrite => "users:write",
            Self::StaffTickets => "staff:tickets",
            Self::StaffBilling => "staff:billing",
        }
    }

    /// What it allows, in a sentence.
    pub(crate) fn about(self) -> &'static str {
        match self {
            Self::OrdersWrite => "Place orders.",
            Self::OrdersRead => "See orders.",
            Self::ResourcesRead => "See resources.",
            Self::ResourcesWrite => "Terminate resources.",
            Self::InvoicesRead => "See invoices and download them.",
            Self::InvoicesWrite => "Ask for invoices.",
            Self::AccountRead => "See the account.",
            Self::AccountWrite => "Change the account.",
            Self::KeysRead => "See API keys and OAuth clients, but for their secrets.",
            Self::KeysWrite => {
                "Create, rotate and revoke API keys and OAuth clients that may do no more."
            }
            Self::TicketsRead => "See tickets.",
            Self::TicketsWrite => "Raise tickets and reply to them.",
            Self::UsersRead => "See who acts for the account.",
            Self::UsersWrite => "Invite people who may do no more, change and remove them.",
            Self::StaffTickets => "Of the seller's own people: see and handle the tickets of all.",
            Self::StaffBilling => {
                "Of the seller's own people: record payments, credit and withdraw invoices of all."
            }
        }
    }

    /// What a customer may do: everything within the account.
    pub fn of_customers() -> Vec<Self> {
        let staff = |scope: &Self| scope.as_str().starts_with("staff:");
        Self::ALL
            .into_iter()
            .filter(|scope| !staff(scope))
            .collect()
    }

    /// Every scope, by name, for messages.
    pub(crate) fn names() -> String {
        Self::ALL.map(Self::as_str).join(", ")
    }
}

impl std::str::FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|scope| scope.as_str() == text)
            .ok_or_else(|| format!("unknown scope; one of {}", Self::names()))
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The kind of credential: `api_key`.
    pub(crate) kind: &'static str,
    pub(crate) account_id: Uuid,
    /// The credential among those of its kind: the id of the key, the client or the session.
    pub(crate) key_id: String,
    /// What the key or the person is called.
    pub(crate) name: String,
    /// Who it is and as what, if it is a person and no key.
    pub(crate) person: Option<(Uuid, Role)>,
    /// What it may do: scopes separated by blanks.
    pub(crate) scopes: String,
    /// From where it may be used. Empty: from everywhere.
    pub(crate) networks: Vec<IpNet>,
    pub(crate) expires_at: Option<DateTime<Utc>>,
}

impl Caller {
    /// Who acts, for the audit trail.
    pub(crate) fn actor(&self) -> String {
        match self.person {
            Some((user_id, _)) => format!("user {user_id}"),
            None => self.credential(),
        }
    }

    /// What they act with, for the audit trail.
    pub(crate) fn credential(&self) -> String {
        format!("{} {}", self.kind, self.key_id)
    }

    /// Whether somebody with this role may do nothing that this credential may not. Only owners
    /// make owners: a key may do as much, but is nobody.
    pub(crate) fn may_give(&self, role: Role) -> bool {
        let owner = matches!(self.person, Some((_, Role::Owner)));
        let covers = scopes_of(role).into_iter().all(|scope| self.has(scope));
        covers && (owner || role != Role::Owner)
    }

    /// Whether the credential has the scope.
    pub(crate) fn has(&self, scope: Scope) -> bool {
        let mut scopes = self.scopes.split_whitespace();
        scopes.any(|has| has == scope.as_str())
    }

    /// Whether everything in a network is where the credential may be used.
    pub(crate) fn reaches(&self, network: &IpNet) -> bool {
        self.networks.is_empty() || self.networks.iter().any(|own| own.contains(network))
    }

    /// Whether the credential lasts at least as long as something that ends then.
    pub(crate) fn outlasts(&self, end: Option<DateTime<Utc>>) -> bool {
        self.expires_at
            .is_none_or(|own| end.is_some_and(|end| end <= own))
    }

    /// Whether a key may do nothing that this credential may not.
    pub(crate) fn covers(&self, key: &api_key::Model) -> bool {
        self.covers_all(&key.scopes, &key.networks, key.expires_at)
    }

    /// Whether this credential has these scopes and reaches these networks, each separated by blanks,
    /// and lasts until then.
    pub(crate) fn covers_all(
        &self,
        scopes: &str,
        networks: &str,
        expires_at: Option<DateTime<Utc>>,
    ) -> bool {
        let mut scopes = Scope::ALL
            .into_iter()
            .filter(|scope| scopes.split(' ').any(|has| has == scope.as_str()));
        let networks: Result<Vec<IpNet>, _> = networks.split_whitespace().map(str::parse).collect();
        let within = networks.is_ok_and(|networks| match networks.is_empty() {
            true => self.networks.is_empty(),
            false => networks.iter().all(|network| self.reaches(network)),
        });
        within && self.outlasts(expires_at) && scopes.all(|scope| self.has(scope))
    }

    /// # Errors
    /// 403 when the credential lacks the scope.
    pub(crate) fn require(&self, scope: Scope) -> Result<(), ApiError> {
        match self.has(scope) {
            true => Ok(()),
            false => Err(ApiError::forbidden(scope.as_str())),
        }
    }
}

/// Whether an address is in one of the networks. Without any, every address is.
pub(crate) fn is_within(networks: &[IpNet], address: Option<IpAddr>) -> bool {
    networks.is_empty()
        || address.is_some_and(|address| networks.iter().any(|network| network.contains(&address)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_addresses_of_their_family_only() {
        let networks: Vec<IpNet> = ["192.0.2.0/24", "2001:db8::/32"]
            .map(|network| network.parse().unwrap())
            .into();
        for (address, expected) in [
            ("192.0.2.7", true),
            ("192.0.3.7", false),
            ("2001:db8:1::1", true),
            ("2001:db9::1", false),
        ] {
            let address = address.parse().ok();
            assert_eq!(is_within(&networks, address), expected, "{address:?}");
        }
        assert!(!is_within(&networks, None));
        assert!(is_within(&[], None));
    }
}
