//! The contract for people and for programs: `/docs`, `/openapi.json`, `/asyncapi.json`, `/schemas/`
//! and `/problems/`. Made once, from the code; nothing of it comes from elsewhere.

mod view;

use std::sync::LazyLock;

use handlebars::Handlebars;
use schemas::contract;
use schemas::problem::TYPES;
use serde::Serialize;
use serde_json::Value;
use warp::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG};
use warp::reply::Response;

use crate::call::Call;
use crate::error::ApiError;
use crate::reply;

static OPENAPI: LazyLock<Value> = LazyLock::new(crate::openapi::openapi);
static ASYNCAPI: LazyLock<Value> = LazyLock::new(contract::asyncapi);
static PAGE: LazyLock<String> =
    LazyLock::new(|| render(include_str!("page.hbs"), &view::page(&OPENAPI)));

const STYLE: &str = include_str!("style.css");

/// `GET /openapi.json`.
pub(crate) async fn openapi(_: Call) -> Result<Response, ApiError> {
    Ok(fresh(reply::ok(&*OPENAPI)))
}

/// `GET /asyncapi.json`.
pub(crate) async fn asyncapi(_: Call) -> Result<Response, ApiError> {
    Ok(fresh(reply::ok(&*ASYNCAPI)))
}

/// `GET /schemas/{kind}`, with or without `.json`.
pub(crate) async fn schema(call: Call) -> Result<Response, ApiError> {
    let name = call.param();
    let name = name.strip_suffix(".json").unwrap_or(name);
    let kind = contract::kinds().into_iter().find(|kind| kind.name == name);
    let kind = kind.ok_or_else(ApiError::nothing_here)?;
    Ok(fresh(reply::ok(&kind.json_schema())))
}

/// `GET /docs`.
pub(crate) async fn page(_: Call) -> Result<Response, ApiError> {
    Ok(text("text/html; charset=utf-8", &PAGE))
}

/// `GET /docs/style.css`.
pub(crate) async fn style(_: Call) -> Result<Response, ApiError> {
    Ok(text("text/css; charset=utf-8", STYLE))
}

/// `GET /problems/{name}`: the page that the `type` of a problem names.
pub(crate) async fn problem(call: Call) -> Result<Response, ApiError> {
    let of = TYPES.iter().find(|of| of.name == call.param());
    let of = of.ok_or_else(ApiError::nothing_here)?;
    let page = render(include_str!("problem.hbs"), &view::problem(of));
    Ok(text("text/html; charset=utf-8", &page))
}

fn render(template: &str, view: &impl Serialize) -> String {
    let mut handlebars = Handlebars::new();
    handlebars.set_strict_mode(true);
    handlebars
        .render_template(template, view)
        .expect("a test renders every page")
}

fn text(media_type: &str, text: &str) -> Response {
    let mut response = Response::new(text.to_owned().into());
    reply::set(&mut response, CONTENT_TYPE, media_type);
    reply::set(&mut response, ETAG, &reply::etag(text.as_bytes()));
    let policy = "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'";
    reply::set(&mut response, CONTENT_SECURITY_POLICY, policy);
    fresh(response)
}

/// To be kept, and asked for again each time.
fn fresh(mut response: Response) -> Response {
    reply::set(&mut response, CACHE_CONTROL, "public, no-cache");
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_show_every_operation_and_every_problem() {
        for operations in OPENAPI["paths"].as_object().unwrap().values() {
            for operation in operations.as_object().unwrap().values() {
                let name = operation["operationId"].as_str().unwrap();
                assert!(PAGE.contains(&format!("id=\"{name}\"")), "{name}");
            }
        }
        for of in TYPES {
            assert!(PAGE.contains(&format!("/problems/{}", of.name)));
            let page = render(include_str!("problem.hbs"), &view::problem(of));
            let title = handlebars::html_escape(of.title);
            assert!(page.contains(&title), "{page}");
        }
    }

    #[test]
    fn code_is_shown_as_code() {
        assert!(PAGE.contains("<code>Idempotency-Key</code>"));
        assert!(!PAGE.contains('`') && !PAGE.contains("&#x60;"));
    }

    #[test]
    fn the_page_asks_nobody_else_for_anything() {
        for outside in ["src=", "@import", "url(", "<script", "style=\""] {
            assert!(
                !PAGE.contains(outside) && !STYLE.contains(outside),
                "{outside}"
            );
        }
    }
}
