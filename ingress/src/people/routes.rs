//! The routes of people: a part of the table.

use warp::http::Method;

use super::sign_ups::{Mailed, SignUpRequest, SignedUp, TokenAndPassword};
use super::{
    contacts, invitation_acceptances, invitations, me, password_resets, second_factor, sessions,
    sign_ups, users,
};
use crate::credentials::Scope;
use crate::route::{Content, Route};

/// Every route about people.
pub(crate) fn routes() -> Vec<Route> {
    let mut routes = proving();
    routes.extend(of_oneself());
    routes.extend(of_an_account());
    routes
}

/// How people prove who they are.
fn proving() -> Vec<Route> {
    vec![
        Route::new(Method::POST, "/v1/sign-ups", "signUp", sign_ups::sign_up)
            .about("Has a link mailed with which somebody gets an account. The same for everybody.")
            .public()
            .body::<SignUpRequest>()
            .json::<Mailed>(202, "A mail is on its way, whoever has the address."),
        Route::new(
            Method::POST,
            "/v1/confirmations",
            "confirmSignUp",
            sign_ups::confirm,
        )
        .about("Creates the person and the account of a sign-up, with the link that was mailed.")
        .public()
        .body::<TokenAndPassword>()
        .json::<SignedUp>(201, "They can log in.")
        .conflict("Somebody with this address can log in already."),
        Route::new(Method::POST, "/v1/session", "logIn", sessions::log_in)
            .about("Logs somebody in: the answer sets a cookie.")
            .public()
            .body::<sessions::LogInRequest>()
            .json::<sessions::SessionItem>(
                201,
                "The session; perhaps the second factor is still due.",
            )
            .answer(
                401,
                "The address or the password is wrong.",
                Content::Problem,
            ),
        Route::new(Method::GET, "/v1/session", "getSession", sessions::get)
            .about("Shows who is logged in, with the token that requests send in X-CSRF-Token.")
            .session()
            .json::<sessions::SessionItem>(200, "The session."),
        Route::new(Method::DELETE, "/v1/session", "logOut", sessions::log_out)
            .about("Ends the session.")
            .session()
            .answer(204, "It is over.", Content::Empty),
        Route::new(
            Method::POST,
            "/v1/session/second-factor",
            "giveSecondFactor",
            second_factor::give,
        )
        .about("Gives the second factor of a session that lacks it: a code, or a recovery code.")
        .session()
        .body::<second_factor::CodeRequest>()
        .json::<sessions::SessionItem>(200, "The session, with another cookie.")
        .conflict("This session needs no second factor."),
        Route::new(
            Method::POST,
            "/v1/password-resets",
            "requestPasswordReset",
            password_resets::request,
        )
        .about("Has a link mailed with which somebody sets a new password. The same for everybody.")
        .public()
        .body::<password_resets::ResetRequest>()
        .json::<Mailed>(202, "A mail is on its way if somebody has the address."),
        Route::new(
            Method::POST,
            "/v1/password-reset-completions",
            "resetPassword",
            password_resets::complete,
        )
        .about("Sets a new password with the link that was mailed, and ends every session.")
        .public()
        .body::<TokenAndPassword>()
        .answer(204, "It is set.", Content::Empty),
        Route::new(
            Method::POST,
            "/v1/invitation-acceptances",
            "acceptInvitation",
            invitation_acceptances::accept,
        )
        .about("Accepts an invitation with the link that was mailed.")
        .public()
        .body::<invitation_acceptances::AcceptanceRequest>()
        .json::<invitation_acceptances::Acceptance>(201, "They act for the account.")
        .conflict("They act for the account already."),
    ]
}

/// What people do about themselves.
fn of_oneself() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/v1/me", "getMe", me::get)
            .about("Shows the person who is logged in.")
            .person()
            .json::<me::MeItem>(200, "The person."),
        Route::new(Method::PATCH, "/v1/me", "changeMe", me::change)
            .about("Changes name and language; what is not mentioned stays (RFC 7396).")
            .person()
            .body::<me::MePatch>()
            .json::<me::MeItem>(200, "The person as they are now."),
        Route::new(
            Method::PUT,
            "/v1/me/password",
            "changePassword",
            me::change_password,
        )
        .about("Changes the password, and ends the other sessions.")
        .person()
        .body::<me::PasswordChange>()
        .json::<sessions::SessionItem>(200, "The session, with another cookie."),
        Route::new(
            Method::POST,
            "/v1/me/second-factor",
            "enrolSecondFactor",
            second_factor::enrol,
        )
        .about("Makes the secret of a second factor (TOTP, RFC 6238), which is to be confirmed.")
        .person()
        .body::<second_factor::EnrolmentRequest>()
        .json::<second_factor::EnrolmentItem>(201, "The secret, for the only time.")
        .conflict("There is a second factor."),
        Route::new(
            Method::POST,
            "/v1/me/second-factor/confirmation",
            "confirmSecondFactor",
            second_factor::confirm,
        )
        .about("Has the second factor asked for from now on.")
        .person()
        .body::<second_factor::CodeRequest>()
        .json::<second_factor::RecoveryCodes>(200, "Recovery codes, for the only time.")
        .conflict("None waits to be confirmed."),
        Route::new(
            Method::POST,
            "/v1/me/second-factor/removal",
            "removeSecondFactor",
            second_factor::remove,
        )
        .about("Removes the second factor, with one of its codes.")
        .person()
        .body::<second_factor::CodeRequest>()
        .answer(204, "It is not asked for any more.", Content::Empty)
        .conflict("There is none."),
        Route::new(
            Method::POST,
            "/v1/me/recovery-codes",
            "renewRecoveryCodes",
            second_factor::recovery_codes,
        )
        .about("Makes new recovery codes; the old ones do not count any more.")
        .person()
        .body::<second_factor::CodeRequest>()
        .json::<second_factor::RecoveryCodes>(200, "Recovery codes, for the only time.")
        .conflict("There is no second factor."),
    ]
}

/// Who acts for an account, and whom its invoices go to.
fn of_an_account() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/v1/users", "listUsers", users::list)
            .about("Lists who acts for the account, newest first.")
            .scope(Scope::UsersRead)
            .paged::<users::UserItem>("A page of people."),
        Route::new(Method::GET, "/v1/users/{id}", "getUser", users::get)
            .about("Shows somebody who acts for the account.")
            .scope(Scope::UsersRead)
            .json::<users::UserItem>(200, "The person."),
        Route::new(Method::PATCH, "/v1/users/{id}", "changeUser", users::change)
            .about("Gives somebody another role, no more than the credential may.")
            .scope(Scope::UsersWrite)
            .body::<users::RoleChange>()
            .json::<users::UserItem>(200, "The person with the role.")
            .conflict("They are the last owner."),
        Route::new(Method::DELETE, "/v1/users/{id}", "removeUser", users::remove)
            .about("Removes somebody from the account, with users:write; oneself, without. It stops within five seconds.")
            .answer(204, "They do not act for the account any more.", Content::Empty)
            .conflict("They are the last owner."),
        Route::new(Method::GET, "/v1/invitations", "listInvitations", invitations::list)
            .about("Lists who was invited, newest first.")
            .scope(Scope::UsersRead)
            .paged::<invitations::InvitationItem>("A page of invitations."),
        Route::new(Method::POST, "/v1/invitations", "invite", invitations::create)
            .about("Invites somebody to act for the account, and mails them a link for a week.")
            .scope(Scope::UsersWrite)
            .body::<invitations::InvitationRequest>()
            .json::<invitations::InvitationItem>(201, "The invitation.")
            .conflict("They act for the account already, or too many invitations wait."),
        Route::new(Method::GET, "/v1/invitations/{id}", "getInvitation", invitations::get)
            .about("Shows an invitation.")
            .scope(Scope::UsersRead)
            .json::<invitations::InvitationItem>(200, "The invitation."),
        Route::new(Method::DELETE, "/v1/invitations/{id}", "revokeInvitation", invitations::revoke)
            .about("Takes an invitation back.")
            .scope(Scope::UsersWrite)
            .answer(204, "It does not count any more.", Content::Empty)
            .conflict("It was accepted."),
        Route::new(Method::GET, "/v1/billing-contacts", "listBillingContacts", contacts::list)
            .about("Lists whom invoices go to. Without any, they go to the address of the account.")
            .scope(Scope::AccountRead)
            .paged::<contacts::ContactItem>("A page of contacts."),
        Route::new(Method::POST, "/v1/billing-contacts", "createBillingContact", contacts::create)
            .about("Adds somebody whom invoices go to, or a copy of them.")
            .scope(Scope::AccountWrite)
            .body::<contacts::ContactRequest>()
            .json::<contacts::ContactItem>(201, "The contact.")
            .conflict("There is one with this address, or too many."),
        Route::new(
            Method::DELETE,
            "/v1/billing-contacts/{id}",
            "removeBillingContact",
            contacts::remove,
        )
        .about("Removes somebody whom invoices went to.")
        .scope(Scope::AccountWrite)
        .answer(204, "They get no more.", Content::Empty),
    ]
}
