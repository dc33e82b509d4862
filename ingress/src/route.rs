//! Routes as data: what a route takes and answers, who may, and what serves it. The dispatcher and
//! the OpenAPI document work on the same table, so that neither knows of a route that the other does
//! not.

use std::future::Future;
use std::pin::Pin;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use warp::http::Method;
use warp::reply::Response;

use crate::call::Call;
use crate::credentials::Scope;
use crate::error::ApiError;
use crate::page::Page;

type Answering = Pin<Box<dyn Future<Output = Result<Response, ApiError>> + Send>>;

/// How the schema of a type is made.
pub(crate) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everybody.
    Public,
    /// Whoever has a credential.
    Known,
    /// Whoever has a credential with this scope.
    Scope(Scope),
    /// Whoever is logged in, for themselves and no account.
    Person,
    /// Whoever is logged in, even if the second factor is still due.
    Session,
}

/// A parameter in the query string or a header.
#[derive(Clone, Copy)]
pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) schema: SchemaOf,
}

/// What a request carries.
#[derive(Clone, Copy)]
pub(crate) enum Body {
    /// JSON of a type.
    Json(SchemaOf),
    /// A form. Whatever is wrong with it the handler says.
    Form(SchemaOf),
    /// A file of one of these media types, as it is.
    File(&'static [&'static str]),
}

/// What an answer carries.
#[derive(Clone, Copy)]
pub(crate) enum Content {
    /// Nothing.
    Empty,
    /// JSON of a type.
    Json(SchemaOf),
    /// Something else, of this media type.
    Media(&'static str),
    /// Problem details.
    Problem,
}

/// One answer that a route gives. Problems are the same everywhere and not listed.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) about: &'static str,
    pub(crate) content: Content,
}

/// One method at one address.
pub(crate) struct Route {
    pub(crate) method: Method,
    /// The path with its parameters in braces.
    pub(crate) path: &'static str,
    /// The name of the operation, for generated clients.
    pub(crate) name: &'static str,
    /// What it does, in a sentence.
    pub(crate) about: &'static str,
    pub(crate) access: Access,
    pub(crate) query: Vec<Parameter>,
    /// Whether it takes `limit` and `cursor`.
    pub(crate) paged: bool,
    pub(crate) headers: Vec<Parameter>,
    /// The body, if it takes one.
    pub(crate) body: Option<Body>,
    pub(crate) answers: Vec<Answer>,
    serve: Box<dyn Fn(Call) -> Answering + Send + Sync>,
}

impl Route {
    /// A route for everybody with a credential, to be described.
    pub(crate) fn new<F, A>(
        method: Method,
        path: &'static str,
        name: &'static str,
        serve: F,
    ) -> Self
    where
        F: Fn(Call) -> A + Send + Sync + 'static,
        A: Future<Output = Result<Response, ApiError>> + Send + 'static,
    {
        Self {
            method,
            path,
            name,
            about: "",
            access: Access::Known,
            query: Vec::new(),
            paged: false,
            headers: Vec::new(),
            body: None,
            answers: Vec::new(),
            serve: Box::new(move |call| Box::pin(serve(call))),
        }
    }

    /// What it does, in a sentence.
    pub(crate) fn about(mut self, about: &'static str) -> Self {
        self.about = about;
        self
    }

    /// For everybody.
    pub(crate) fn public(mut self) -> Self {
        self.access = Access::Public;
        self
    }

    /// For credentials with this scope.
    pub(crate) fn scope(mut self, scope: Scope) -> Self {
        self.access = Access::Scope(scope);
        self
    }

    /// For whoever is logged in.
    pub(crate) fn person(mut self) -> Self {
        self.access = Access::Person;
        self
    }

    /// For whoever is logged in, even if the second factor is still due.
    pub(crate) fn session(mut self) -> Self {
        self.access = Access::Session;
        self
    }

    /// Takes a query parameter with values of `T`.
    pub(crate) fn query<T: JsonSchema>(mut self, name: &'static str, about: &'static str) -> Self {
        self.query.push(Parameter {
            name,
            about,
            schema: SchemaGenerator::subschema_for::<T>,
        });
        self
    }

    /// Answers a page of `T`s.
    pub(crate) fn paged<T: JsonSchema>(mut self, about: &'static str) -> Self {
        self.paged = true;
        self.json::<Page<T>>(200, about)
    }

    /// Takes a header with values of `T`.
    pub(crate) fn header<T: JsonSchema>(mut self, name: &'static str, about: &'static str) -> Self {
        self.headers.push(Parameter {
            name,
            about,
            schema: SchemaGenerator::subschema_for::<T>,
        });
        self
    }

    /// Takes a JSON body.
    pub(crate) fn body<T: JsonSchema>(mut self) -> Self {
        self.body = Some(Body::Json(SchemaGenerator::subschema_for::<T>));
        self
    }

    /// Takes a form.
    pub(crate) fn form<T: JsonSchema>(mut self) -> Self {
        self.body = Some(Body::Form(SchemaGenerator::subschema_for::<T>));
        self
    }

    /// Takes a file.
    pub(crate) fn file(mut self, media_types: &'static [&'static str]) -> Self {
        self.body = Some(Body::File(media_types));
        self
    }

    /// Answers JSON.
    pub(crate) fn json<T: JsonSchema>(self, status: u16, about: &'static str) -> Self {
        self.answer(
            status,
            about,
            Content::Json(SchemaGenerator::subschema_for::<T>),
        )
    }

    /// Answers 409 to what cannot be done as things are.
    pub(crate) fn conflict(self, about: &'static str) -> Self {
        self.answer(409, about, Content::Problem)
    }

    /// Answers something else than JSON, or nothing.
    pub(crate) fn answer(mut self, status: u16, about: &'static str, content: Content) -> Self {
        self.answers.push(Answer {
            status,
            about,
            content,
        });
        self
    }

    /// Whether it acts for an account.
    pub(crate) fn acts(&self) -> bool {
        matches!(self.access, Access::Known | Access::Scope(_))
    }

    /// Whether it changes something (RFC 9110 §9.2.1).
    pub(crate) fn writes(&self) -> bool {
        !self.method.is_safe()
    }

    /// Answers a call.
    pub(crate) fn serve(&self, call: Call) -> Answering {
        (self.serve)(call)
    }
}
