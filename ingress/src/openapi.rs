//! The OpenAPI document (3.1) of the API, made from the table of routes.
//! <https://spec.openapis.org/oas/v3.1.0>

use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemas::Problem;
use schemas::problem;
use serde_json::{Map, Value, json};

use crate::credentials::Scope;
use crate::page;
use crate::route::{Access, Body, Content, Parameter, Route};
use crate::routes::routes;

const ABOUT: &str = "Customers order cloud resources and get invoices.\n\n\
Send an API key as `Authorization: Bearer cf_…`, or an access token: a program of yours is an OAuth \
client and exchanges its id and secret at `/oauth2/token` for one that lasts ten minutes. People log in. \
A request that makes something can carry an \
`Idempotency-Key`: repeated with the same key it has one effect. Errors are problem details \
(RFC 9457) that name every wrong field at once. Lists are pages, newest first; pass `next` as \
`cursor` to go on. Every answer has `X-Request-Id` and `X-Trace-Id`: quote them to support.";

/// The document.
pub fn openapi() -> Value {
    // What is read may leave out what has a default; what is written has everything.
    let settings = || {
        SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        })
    };
    let mut made = Made {
        written: settings().for_serialize().into_generator(),
        read: settings().for_deserialize().into_generator(),
    };
    let mut paths: Map<String, Value> = Map::new();
    for route in routes() {
        let operations = paths.entry(route.path).or_insert_with(|| json!({}));
        let method = route.method.as_str().to_lowercase();
        operations[method] = operation(&route, &mut made);
    }
    let problem = made.written.subschema_for::<Problem>();
    let scopes: Map<String, Value> = Scope::ALL
        .map(|scope| (scope.as_str().to_owned(), scope.about().into()))
        .into_iter()
        .collect();
    let mut schemas = made.read.take_definitions(true);
    schemas.extend(made.written.take_definitions(true));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Customer Flow",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{ "key": [] }, { "oauth": [] }, { "session": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key: `cf_…`.",
                },
                "oauth": {
                    "type": "oauth2",
                    "description": "An access token (RFC 9068) of a client, or of an issuer that the \
                                    seller trusts.",
                    "flows": {
                        "clientCredentials": { "tokenUrl": "/oauth2/token", "scopes": scopes },
                    },
                },
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "__Host-session",
                    "description": "A person who has logged in with `POST /v1/session`. Whatever \
                        changes something has the header `X-CSRF-Token`.",
                },
            },
            "responses": {
                "Problem": {
                    "description": "Problem details.",
                    "content": { "application/problem+json": { "schema": problem } },
                },
            },
            "schemas": schemas,
        },
    })
}

/// The schemas that were met so far.
struct Made {
    written: SchemaGenerator,
    read: SchemaGenerator,
}

fn operation(route: &Route, made: &mut Made) -> Value {
    let mut operation = json!({
        "operationId": route.name,
        "summary": route.about,
        "tags": [tag(route.path)],
        "responses": responses(route, made),
    });
    let parameters = parameters(route, made);
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if let Some(body) = route.body {
        let content = match body {
            Body::Json(schema) => {
                json!({ "application/json": { "schema": schema(&mut made.read) } })
            }
            Body::Form(schema) => {
                json!({ "application/x-www-form-urlencoded": { "schema": schema(&mut made.read) } })
            }
            // Since 3.1 a file as it is has no schema.
            Body::File(media_types) => media_types
                .iter()
                .map(|media_type| ((*media_type).to_owned(), json!({})))
                .collect::<Map<_, _>>()
                .into(),
        };
        operation["requestBody"] = json!({ "required": true, "content": content });
    }
    match route.access {
        Access::Public => operation["security"] = json!([]),
        Access::Known => {}
        // Since 3.1 every kind of credential can name what it must allow.
        Access::Scope(scope) => {
            let scopes = [scope.as_str()];
            operation["security"] =
                json!([{ "key": scopes }, { "oauth": scopes }, { "session": scopes }]);
        }
        Access::Person | Access::Session => operation["security"] = json!([{ "session": [] }]),
    }
    operation
}

/// The noun that a path is about.
fn tag(path: &str) -> &str {
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    match parts.next() {
        Some("v1") => parts.next().unwrap_or_default(),
        Some("oauth2" | ".well-known") => "oauth2",
        _ => "service",
    }
}

fn parameters(route: &Route, made: &mut Made) -> Vec<Value> {
    let in_path = route.path.split(['{', '}']).skip(1).step_by(2);
    let mut parameters: Vec<_> = in_path
        .map(|name| {
            let schema = match name {
                "id" => json!({ "type": "string", "format": "uuid" }),
                _ => json!({ "type": "string" }),
            };
            json!({ "name": name, "in": "path", "required": true, "schema": schema })
        })
        .collect();
    let mut push = |place: &str, given: &[Parameter]| {
        for parameter in given {
            parameters.push(json!({
                "name": parameter.name,
                "in": place,
                "description": parameter.about,
                "schema": (parameter.schema)(&mut made.read),
            }));
        }
    };
    push("query", &route.query);
    push("header", &route.headers);
    if route.acts() {
        parameters.push(json!({
            "name": "Account-Id",
            "in": "header",
            "description": "The account that a person acts for, if there are several.",
            "schema": { "type": "string", "format": "uuid" },
        }));
    }
    if route.paged {
        let limit = json!({ "type": "integer", "minimum": 1, "maximum": page::MOST, "default": page::DEFAULT });
        parameters.push(json!({
            "name": "limit",
            "in": "query",
            "description": "How many items a page has at most.",
            "schema": limit,
        }));
        parameters.push(json!({
            "name": "cursor",
            "in": "query",
            "description": "The value of next from the page before.",
            "schema": { "type": "string" },
        }));
    }
    parameters
}

fn responses(route: &Route, made: &mut Made) -> Value {
    let mut responses = Map::new();
    for answer in &route.answers {
        let content = match answer.content {
            Content::Empty => None,
            Content::Json(schema) => Some(("application/json", schema(&mut made.written))),
            Content::Media(name) => Some((name, true.into())),
            Content::Problem => {
                let schema = made.written.subschema_for::<Problem>();
                Some(("application/problem+json", schema))
            }
        };
        // One status may come in several media types; the first says what it means.
        let response = responses
            .entry(answer.status.to_string())
            .or_insert_with(|| json!({ "description": answer.about }));
        if let Some((media_type, schema)) = content {
            response["content"][media_type] = json!({ "schema": schema });
        }
    }
    for status in refusals(route) {
        let reference = json!({ "$ref": "#/components/responses/Problem" });
        responses
            .entry(status.to_string())
            .or_insert_with(|| reference);
    }
    responses.into()
}

/// The statuses of the problems that a route may answer with.
fn refusals(route: &Route) -> Vec<u16> {
    let writes = route.body.is_some();
    let writes_form = matches!(route.body, Some(Body::Form(_)));
    let writes_typed = writes && !writes_form;
    let takes = writes_typed || route.paged || !route.query.is_empty() || !route.headers.is_empty();
    // A person may name an account.
    let (takes, found) = (
        takes || route.acts(),
        route.acts() || route.path.contains('{'),
    );
    let conditional = route.headers.iter().any(|header| header.name == "If-Match");
    let scoped = matches!(route.access, Access::Scope(_));
    [
        (writes_typed, problem::MALFORMED),
        (route.access != Access::Public, problem::UNAUTHORIZED),
        (scoped || route.writes(), problem::FORBIDDEN),
        (found, problem::NOT_FOUND),
        (true, problem::TIMEOUT),
        (conditional, problem::CHANGED_MEANWHILE),
        (writes, problem::TOO_LARGE),
        (writes_typed, problem::UNSUPPORTED_MEDIA_TYPE),
        (takes, problem::INVALID_REQUEST),
        (
            route.access != Access::Public || writes,
            problem::TOO_MANY_REQUESTS,
        ),
        (
            route.access != Access::Public || writes,
            problem::UNAVAILABLE,
        ),
    ]
    .into_iter()
    .filter_map(|(applies, of)| applies.then_some(of.status))
    .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_committed_document_is_the_one_of_the_code() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/contract/openapi.json");
        let committed = std::fs::read_to_string(path).unwrap();
        let committed: Value = serde_json::from_str(&committed).unwrap();
        assert_eq!(
            committed,
            openapi(),
            "run flow contract write docs/contract"
        );
    }

    #[test]
    fn the_document_is_valid_openapi() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../tests/specs/openapi-3.1.json"
        );
        let schema: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let document = openapi();
        let errors: Vec<_> = validator.iter_errors(&document).collect();
        assert!(errors.is_empty(), "{errors:?}");
        for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
            assert!(jsonschema::meta::is_valid(schema), "{name}");
        }
        assert!(!validator.is_valid(&serde_json::json!({ "openapi": "3.1.0" })));
    }

    #[test]
    fn every_route_is_described() {
        let mut names = HashSet::new();
        for route in routes() {
            assert!(names.insert(route.name), "{} is there twice", route.name);
            assert!(
                route.about.ends_with('.'),
                "{}: {}",
                route.name,
                route.about
            );
            assert!(!route.answers.is_empty(), "{}", route.name);
        }
    }

    /// What is read and what is written share the names of their schemas.
    #[test]
    fn a_name_means_one_schema() {
        let document = openapi();
        let text = document.to_string();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let referenced = text.split("#/components/schemas/").skip(1);
        for reference in referenced {
            let name = reference.split('"').next().unwrap();
            assert!(schemas.contains_key(name), "{name}");
            assert!(!name.ends_with('2'), "{name}: two types have this name");
        }
    }
}
