//! Tickets over HTTP: raised, replied to, shown, with files; and the support's side.

mod attachments;
mod items;
mod raise;
mod routes;
mod shown;
mod staff;

pub(crate) use routes::routes;
