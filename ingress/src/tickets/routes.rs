//! The routes of tickets: a part of the table.

use schemas::ticket::{
    Category, HandlingRequest, Priority, ReplyRequest, TicketRequest, TicketStatus,
};
use schemas::values::{ExternalRef, FileName, Name};
use uuid::Uuid;
use warp::http::Method;

use super::attachments::{AttachmentItem, MEDIA_TYPES};
use super::staff::Overdue;
use super::{attachments, items, raise, shown, staff};
use crate::accept::Accepted;
use crate::credentials::Scope;
use crate::route::{Content, Route};
use crate::routes::{KEY, PREFER};

impl Route {
    /// Takes the filters of tickets.
    fn of_tickets(self) -> Self {
        self.query::<TicketStatus>("status", "Only those in this state.")
            .query::<Priority>("priority", "Only those that are so urgent.")
            .query::<Category>("category", "Only those about this.")
            .query::<Uuid>("order_id", "Only those about this order.")
            .query::<Uuid>("resource_id", "Only those about this resource.")
            .query::<Uuid>("invoice_id", "Only those about this invoice.")
    }
}

/// Every route about tickets.
pub(crate) fn routes() -> Vec<Route> {
    let mut routes = of_tickets();
    routes.extend(of_attachments());
    routes
}

fn of_attachments() -> Vec<Route> {
    let download = |mut route: Route| {
        for media_type in MEDIA_TYPES {
            route = route.answer(200, "The file, byte for byte.", Content::Media(media_type));
        }
        route
    };
    let upload = |route: Route| {
        route
            .query::<FileName>("name", "What the file is called.")
            .file(MEDIA_TYPES)
            .json::<AttachmentItem>(201, "The file; sent again it is the same one.")
            .conflict("The files of the account are too many.")
    };
    vec![
        upload(
            Route::new(
                Method::POST,
                "/v1/attachments",
                "uploadAttachment",
                attachments::upload,
            )
            .about(
                "Uploads a file of at most 5 MiB, to be named in a ticket or a reply within a day.",
            )
            .scope(Scope::TicketsWrite),
        ),
        Route::new(
            Method::GET,
            "/v1/attachments",
            "listAttachments",
            attachments::list,
        )
        .about("Lists the files that the account has uploaded, newest first.")
        .scope(Scope::TicketsRead)
        .paged::<AttachmentItem>("A page of files."),
        Route::new(
            Method::GET,
            "/v1/attachments/{id}",
            "getAttachment",
            attachments::get,
        )
        .about("Shows what is known of a file.")
        .scope(Scope::TicketsRead)
        .json::<AttachmentItem>(200, "The file."),
        download(
            Route::new(
                Method::GET,
                "/v1/attachments/{id}/content",
                "downloadAttachment",
                attachments::content,
            )
            .about("Downloads a file of the account, or one that the support gave in a ticket.")
            .scope(Scope::TicketsRead),
        ),
        upload(
            Route::new(
                Method::POST,
                "/v1/staff/attachments",
                "uploadStaffAttachment",
                attachments::staff_upload,
            )
            .about(
                "Uploads a file of at most 5 MiB, to be named in an answer or a note within a day.",
            )
            .scope(Scope::StaffTickets),
        ),
        download(
            Route::new(
                Method::GET,
                "/v1/staff/attachments/{id}/content",
                "downloadAnyAttachment",
                attachments::staff_content,
            )
            .about("Downloads a file of any account.")
            .scope(Scope::StaffTickets),
        ),
    ]
}

fn of_tickets() -> Vec<Route> {
    vec![
        Route::new(Method::POST, "/v1/tickets", "raiseTicket", raise::raise)
            .about("Raises a ticket.")
            .scope(Scope::TicketsWrite)
            .header::<ExternalRef>(
                KEY,
                "Makes the request repeatable: the same key is the same ticket.",
            )
            .body::<TicketRequest>()
            .json::<Accepted>(202, "The ticket is accepted."),
        Route::new(Method::GET, "/v1/tickets", "listTickets", shown::list)
            .about("Lists the tickets of the account, newest first.")
            .scope(Scope::TicketsRead)
            .of_tickets()
            .paged::<items::TicketItem>("A page of tickets."),
        Route::new(Method::GET, "/v1/tickets/{id}", "getTicket", shown::get)
            .about("Shows a ticket with everything that was said and done.")
            .scope(Scope::TicketsRead)
            .header::<String>("Prefer", PREFER)
            .json::<items::TicketDetails>(200, "The ticket."),
        Route::new(Method::POST, "/v1/tickets/{id}/replies", "replyToTicket", raise::reply)
            .about(
                "Says something in a ticket, closes it or opens it again. A reply to a closed ticket \
                 opens one that continues it.",
            )
            .scope(Scope::TicketsWrite)
            .header::<ExternalRef>(
                KEY,
                "Makes the request repeatable: the same key is the same reply.",
            )
            .body::<ReplyRequest>()
            .json::<Accepted>(202, "The reply is accepted; the ticket shows what becomes of it."),
        Route::new(Method::GET, "/v1/staff/tickets", "listAllTickets", staff::list)
            .about("Lists the tickets of every account, newest first.")
            .scope(Scope::StaffTickets)
            .of_tickets()
            .query::<Uuid>("account_id", "Only those of this account.")
            .query::<Name>("assignee", "Only those that this person sees to.")
            .query::<Overdue>("overdue", "Only those whose answer or solution is late.")
            .paged::<items::StaffItem>("A page of tickets."),
        Route::new(Method::GET, "/v1/staff/tickets/{id}", "getAnyTicket", staff::get)
            .about("Shows a ticket with everything that was said and done, notes too.")
            .scope(Scope::StaffTickets)
            .json::<items::StaffDetails>(200, "The ticket."),
        Route::new(Method::POST, "/v1/staff/tickets/{id}/actions", "handleTicket", staff::act)
            .about("Answers, notes, assigns, or sets status and priority, all at once. Under the name of the key.")
            .scope(Scope::StaffTickets)
            .header::<ExternalRef>(
                KEY,
                "Makes the request repeatable: the same key is the same action on the ticket.",
            )
            .body::<HandlingRequest>()
            .json::<Accepted>(202, "The action is accepted; the ticket shows what becomes of it."),
    ]
}
