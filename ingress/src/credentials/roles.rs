//! What the roles of people may do, as sets of scopes.

use entity::membership::Role;

use super::Scope;

/// What somebody with a role may do.
pub(crate) fn scopes_of(role: Role) -> Vec<Scope> {
    use Scope::*;
    match role {
        Role::Owner => Scope::of_customers(),
        Role::Billing => vec![InvoicesRead, InvoicesWrite, AccountRead, AccountWrite],
        Role::Technical => vec![
            OrdersRead,
            OrdersWrite,
            ResourcesRead,
            ResourcesWrite,
            TicketsRead,
            TicketsWrite,
        ],
        Role::ReadOnly => {
            let mut reads = Scope::of_customers();
            reads.retain(|scope| scope.as_str().ends_with(":read"));
            reads
        }
    }
}
